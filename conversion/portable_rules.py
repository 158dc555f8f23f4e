"""The rules of portable graphs, as data with their reasons, and a check of an ONNX model against them.

They keep a graph in one partition of ONNX Runtime's Core ML provider, and on the Neural Engine from there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cached_property

import onnx

from .rules import LARGEST_DIMENSION, LARGEST_KERNEL, LARGEST_RANK, Exemption, Finding, Place, Rule, findings

SELECTIONS = frozenset(
    {"And", "ArgMax", "ArgMin", "Compress", "Equal", "Gather", "GatherElements", "GatherND", "Greater"}
    | {"GreaterOrEqual", "Less", "LessOrEqual", "NonZero", "Not", "OneHot", "Or", "Scatter", "ScatterElements"}
    | {"ScatterND", "TopK", "Where", "Xor"}
)
BRANCHES = frozenset({"If", "Loop", "Scan"})
SIZES = frozenset({"ConstantOfShape", "CumSum", "Expand", "Pad", "Range", "Shape", "Size", "Tile", "Unique"})
CONSTANT_PARAMETERS = {"Slice": (1, 2, 3, 4), "Split": (1,), "Reshape": (1,), "Resize": (1, 2, 3)}
"""Operator -> inputs that are parameters."""
CONSTANT_WEIGHTS = {"Conv": (1, 2), "ConvTranspose": (1, 2), "Gemm": (1,), "LayerNormalization": (1, 2)}
"""Operator -> inputs that are weights."""
POOLS = frozenset({"AveragePool", "MaxPool"})
SUPPORTED = "coreml_supported_mlprogram_ops.md"
"""ONNX Runtime's own list of what its Core ML provider takes, which comes with the package."""


class InferredGraph:
    """A graph of an ONNX model with the shapes of its values; weights outside the file are not read."""

    def __init__(self, model: onnx.ModelProto) -> None:
        try:
            self.model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        except onnx.shape_inference.InferenceError:  # an operator it does not know; what follows has no shape then
            self.model = onnx.shape_inference.infer_shapes(model, data_prop=True)
        self.graph = self.model.graph

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """By value; a size that is not known is 0."""
        found = {
            value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
            for value in self._values()
            if value.type.tensor_type.HasField("shape")
        }
        return found | {tensor.name: tuple(tensor.dims) for tensor in self.graph.initializer}

    @cached_property
    def types(self) -> dict[str, str]:
        """Element types of the values between nodes, by value."""
        names = onnx.TensorProto.DataType.Name
        return {value.name: names(value.type.tensor_type.elem_type).lower() for value in self._values()}

    @cached_property
    def constants(self) -> frozenset[str]:
        """What is stored in the model, and casts of that, which are folded when a model is loaded."""
        stored = {tensor.name for tensor in self.graph.initializer}
        casts = {node.output[0] for node in self.graph.node if node.op_type == "Cast" and node.input[0] in stored}
        return frozenset(stored | casts)

    @cached_property
    def partitions(self) -> tuple[int, frozenset[str]]:
        """Partitions of ONNX Runtime's Core ML provider as its usability checker counts them, and the operators that
        the provider does not take.
        """
        from onnxruntime.tools.mobile_helpers import usability_checker

        try:
            info = usability_checker.check_coreml_partitions(self.model, False, SUPPORTED)
        except IndexError as error:  # it expects every Transpose to say how
            raise ValueError("ONNX Runtime cannot count the partitions of a graph with a bare Transpose") from error
        return info.num_partitions, frozenset(info.unsupported_ops)

    def parameters(self, of: dict[str, tuple[int, ...]]) -> Iterator[tuple[onnx.NodeProto, str]]:
        """Nodes with the inputs that a table of operators names."""
        for node in self.graph.node:
            for index in of.get(node.op_type, ()):
                if index < len(node.input) and node.input[index]:
                    yield node, node.input[index]

    def _values(self) -> tuple[onnx.ValueInfoProto, ...]:
        return (*self.graph.input, *self.graph.output, *self.graph.value_info)


def _high_rank(subject: InferredGraph) -> Iterator[Place]:
    return (Place(f"{name} {shape}") for name, shape in subject.shapes.items() if len(shape) > LARGEST_RANK)


def _large_dimension(subject: InferredGraph) -> Iterator[Place]:
    shapes = subject.shapes.items()
    return (Place(f"{name} {shape}") for name, shape in shapes if max(shape, default=0) > LARGEST_DIMENSION)


def _unknown_shape(subject: InferredGraph) -> Iterator[Place]:
    known = {name for name, shape in subject.shapes.items() if all(shape)}
    made = (name for node in subject.graph.node for name in node.output)
    given = (value.name for value in subject.graph.input)
    return (Place(name) for name in (*given, *made) if name and name not in known)


def _wide_kernel(subject: InferredGraph) -> Iterator[Place]:
    for node in subject.graph.node:
        for attribute in node.attribute:
            if attribute.name == "kernel_shape" and max(attribute.ints) > LARGEST_KERNEL:
                yield Place(f"{node.name} {tuple(attribute.ints)}")


def _nodes(subject: InferredGraph, kinds: Collection[str]) -> Iterator[Place]:
    return (Place(f"{node.name} ({node.op_type})", node) for node in subject.graph.node if node.op_type in kinds)


def _other_domain(subject: InferredGraph) -> Iterator[Place]:
    nodes = (node for node in subject.graph.node if node.domain not in ("", "ai.onnx"))
    return (Place(f"{node.name} ({node.domain} {node.op_type})") for node in nodes)


def _computed_parameter(subject: InferredGraph) -> Iterator[Place]:
    stored = {tensor.name for tensor in subject.graph.initializer}
    pairs = subject.parameters(CONSTANT_PARAMETERS)
    return (Place(f"{node.name} input {name}") for node, name in pairs if name not in stored)


def _computed_weight(subject: InferredGraph) -> Iterator[Place]:
    pairs = subject.parameters(CONSTANT_WEIGHTS)
    return (Place(f"{node.name} input {name}") for node, name in pairs if name not in subject.constants)


def _odd_pool(subject: InferredGraph) -> Iterator[Place]:
    for node in subject.graph.node:
        if node.op_type in POOLS:
            given = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
            uneven = given.get("ceil_mode", 0) or set(given.get("dilations", ())) - {1} or len(node.output) > 1
            if len(given["kernel_shape"]) != 2 or uneven:
                yield Place(f"{node.name} ({node.op_type})")


def _no_float(subject: InferredGraph) -> Iterator[Place]:
    return (Place(f"{name} {dtype}") for name, dtype in subject.types.items() if dtype not in ("float", "float16"))


def _several_partitions(subject: InferredGraph) -> Iterator[Place]:
    count, unsupported = subject.partitions
    if count != 1:
        yield Place(f"{count} partitions")
    yield from (Place(f"no {operator} there") for operator in sorted(unsupported))


RULES = (
    Rule("static shapes", "the Neural Engine and ahead-of-time compilers need every size", _unknown_shape),
    Rule(f"rank at most {LARGEST_RANK}", "tensors of higher rank leave the Neural Engine", _high_rank),
    Rule(
        f"no dimension above {LARGEST_DIMENSION}",
        "larger ones do not fit the Neural Engine's addressing",
        _large_dimension,
    ),
    Rule(f"no kernel wider than {LARGEST_KERNEL}", "wider convolutions leave the Neural Engine", _wide_kernel),
    Rule(
        "no selection by index or comparison",
        "these operators split ONNX Runtime's Core ML partition or fall back to the CPU",
        lambda subject: _nodes(subject, SELECTIONS),
    ),
    Rule(
        "no control flow",
        "a graph inside a graph is a partition of its own, and no work for the Neural Engine",
        lambda subject: _nodes(subject, BRANCHES),
    ),
    Rule(
        "no padding, copies or computed sizes",
        "the Core ML provider takes none or few forms of these; zeros are concatenated, and operators broadcast",
        lambda subject: _nodes(subject, SIZES),
    ),
    Rule(
        "no Reciprocal",
        "the Core ML provider adds 1e-4 to what is inverted; Sqrt and Div are exact",
        lambda subject: _nodes(subject, {"Reciprocal"}),
    ),
    Rule("standard operators only", "any ONNX runtime can run them", _other_domain),
    Rule("constant shapes, slices and splits", "Core ML wants them as constants", _computed_parameter),
    Rule(
        "constant weights",
        "the Core ML provider takes Gemm, ConvTranspose and biases with stored numbers only, and the Neural Engine is "
        "compiled with its weights",
        _computed_weight,
    ),
    Rule(
        "pooling of planes",
        "the Core ML provider takes pooling over two dimensions, undilated, rounded down, with one result",
        _odd_pool,
    ),
    Rule(
        "floats between nodes",
        "a Core ML partition takes and gives no booleans, Core ML knows no int64, and the Neural Engine no int32",
        _no_float,
    ),
    Rule(
        "no casts",
        "each is one more pass over its values, and mostly the trace of an integer or a boolean",
        lambda subject: _nodes(subject, {"Cast"}),
        (
            Exemption(
                "casts of stored constants",
                "weights that half precision holds exactly are stored so; ONNX Runtime folds the cast when it loads a "
                "graph, before it makes partitions",
                lambda subject, node: node.input[0] in {tensor.name for tensor in subject.graph.initializer},
            ),
        ),
    ),
)
"""What a model shows of itself."""
ONE_PARTITION = Rule(
    "one Core ML partition",
    "each border between partitions is a copy to the CPU and back; counted by ONNX Runtime's usability checker",
    _several_partitions,
)
"""Needs onnxruntime."""


def breaches(model: onnx.ModelProto) -> list[str]:
    """Every breach of every rule of `RULES` as ``rule: place``; shapes are inferred first."""
    found = findings(RULES, InferredGraph(model))
    return [f"{finding.rule.name}: {finding.place}" for finding in found if finding.exemption is None]


def linted(subject: InferredGraph) -> list[Finding]:
    """Every finding, that of partitions included.

    Raises:
        ImportError: onnxruntime is not installed.
    """
    return list(findings((*RULES, ONE_PARTITION), subject))
