"""The rules of portable graphs, as data with their reasons, and a check of an ONNX model against them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import onnx

LARGEST_RANK = 4
LARGEST_DIMENSION = 16_384
LARGEST_KERNEL = 13
FORBIDDEN = frozenset(
    {"Equal", "Expand", "Gather", "GatherND", "Greater", "If", "Less", "Loop", "Not", "Pad", "Reciprocal", "Where"}
)
CONSTANT_PARAMETERS = {"Slice": (1, 2, 3, 4), "Split": (1,), "Reshape": (1,)}


@dataclass(frozen=True)
class Rule:
    """One rule: what it asks, why, and the places where a graph breaks it."""

    name: str
    reason: str
    breaches: Callable[[onnx.GraphProto], Iterator[str]]


def _shapes(graph: onnx.GraphProto) -> Iterator[tuple[str, tuple[int, ...]]]:
    for value in (*graph.input, *graph.output, *graph.value_info):
        yield value.name, tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
    for tensor in graph.initializer:
        yield tensor.name, tuple(tensor.dims)


def _high_rank(graph: onnx.GraphProto) -> Iterator[str]:
    return (f"{name} {shape}" for name, shape in _shapes(graph) if len(shape) > LARGEST_RANK)


def _large_dimension(graph: onnx.GraphProto) -> Iterator[str]:
    return (f"{name} {shape}" for name, shape in _shapes(graph) if max(shape, default=0) > LARGEST_DIMENSION)


def _unknown_shape(graph: onnx.GraphProto) -> Iterator[str]:
    known = {name for name, shape in _shapes(graph) if all(shape)}
    return (name for node in graph.node for name in node.output if name not in known)


def _wide_kernel(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name == "kernel_shape" and max(attribute.ints) > LARGEST_KERNEL:
                yield f"{node.name} {tuple(attribute.ints)}"


def _forbidden(graph: onnx.GraphProto) -> Iterator[str]:
    return (f"{node.name} ({node.op_type})" for node in graph.node if node.op_type in FORBIDDEN)


def _other_domain(graph: onnx.GraphProto) -> Iterator[str]:
    return (f"{node.name} ({node.domain})" for node in graph.node if node.domain not in ("", "ai.onnx"))


def _computed_parameter(graph: onnx.GraphProto) -> Iterator[str]:
    constants = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        for index in CONSTANT_PARAMETERS.get(node.op_type, ()):
            if index < len(node.input) and node.input[index] and node.input[index] not in constants:
                yield f"{node.name} input {node.input[index]}"


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
        _forbidden,
    ),
    Rule("standard operators only", "any ONNX runtime can run them", _other_domain),
    Rule("constant shapes, slices and splits", "Core ML wants them as constants", _computed_parameter),
)


def breaches(model: onnx.ModelProto) -> list[str]:
    """Every breach of every rule as ``rule: place``; shapes are inferred first."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    return [f"{rule.name}: {place}" for rule in RULES for place in rule.breaches(inferred.graph)]
