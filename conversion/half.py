"""Half precision for CUDA: weights and computation in float16, the edges and what needs more digits in float32.

A value is cast only where a node of one precision reads what a node of the other wrote, so a stretch of float32 nodes
keeps float32 between them: a variance is not rounded, and does not overflow, on its way from its squares to its root.
ONNX Runtime's own converter rounds there, which is why this is a pass of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def _names(text: str) -> frozenset[str]:
    """Operators, separated by blanks."""
    return frozenset(text.split())


LAYOUT = _names("Concat Expand Flatten Gather Identity Pad Reshape Slice Split Squeeze Tile Transpose Unsqueeze")
"""Operators that move values and compute nothing."""
ELEMENTWISE = _names("Abs Add Clip Div Max Min Mul Neg Reciprocal Sub Where")
"""Operators that stay in float32 where all that they read is float32."""


@dataclass(frozen=True)
class Float32:
    """What stays in float32, besides squares, which overflow above 255.

    operators: by name.  Normalisation and softmax sum many values; a resized mask is compared with a threshold.
    arguments, outputs: everything that leads to these operators and these outputs of the graph, back to the nearest
    LayerNormalization.  The phase of a point is hundreds of turns, of which half precision keeps no fraction; predicted
    IoU and presence decide between masks, and cost a few rows of products.
    """

    operators: frozenset[str] = _names(
        "ArgMax Constant Cos Equal Exp Greater GreaterOrEqual LayerNormalization Less Log Pow ReduceMax "
        "ReduceMean ReduceSum Resize Sigmoid Sin Softmax Sqrt Tanh"
    )
    arguments: frozenset[str] = frozenset(("ArgMax", "Cos", "Sin"))
    outputs: frozenset[str] = frozenset(("iou", "presence"))


RULES = Float32()


def to_half(model: onnx.ModelProto, rules: Float32 = RULES) -> onnx.ModelProto:
    """A copy of a model that computes in float16 behind the same float32 edges.

    Finite weights beyond the largest half become the largest half: they are masks, of which only the sign counts.

    Raises:
        ValueError: the model has control flow, or weights that are not inside it.
    """
    graph = model.graph
    for node in graph.node:
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise ValueError(f"{graph.name}: {node.op_type} holds a graph, and half precision is for plain graphs")
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in graph.initializer):
        raise ValueError(f"{graph.name}: the weights should be loaded before they are converted to half precision")
    single = _single_nodes(graph, rules)
    return _Writer(model, single).written()


def _float_tensors(graph: onnx.GraphProto) -> set[str]:
    """Names of the float32 tensors: a node of floats gives floats, unless it is known to give something else."""
    found = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    found |= {value.name for value in graph.input if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    for node in graph.node:
        if node.op_type in ("ArgMax", "Equal", "Greater", "GreaterOrEqual", "Less", "Not", "Shape", "Size"):
            continue
        if node.op_type == "Cast":
            floats = helper.get_node_attr_value(node, "to") == TensorProto.FLOAT
        elif node.op_type == "Constant":
            tensors = [attribute.t for attribute in node.attribute if attribute.HasField("t")]
            floats = any(tensor.data_type == TensorProto.FLOAT for tensor in tensors)
        else:
            floats = any(name in found for name in node.input)
        if floats:
            found.update(node.output)
    return found


def _leads_to(graph: onnx.GraphProto, tensors: set[str]) -> set[int]:
    """Indices of the nodes that the tensors are computed by, back to the nearest normalisation of tokens."""
    wanted, nodes = set(tensors), set[int]()
    for index in reversed(range(len(graph.node))):
        node = graph.node[index]
        if wanted & set(node.output):
            nodes.add(index)
            if node.op_type != "LayerNormalization":
                wanted.update(node.input)
    return nodes


def _single_nodes(graph: onnx.GraphProto, rules: Float32) -> set[int]:
    """Indices of the nodes that stay in float32."""
    floats = _float_tensors(graph)
    weights = {tensor.name for tensor in graph.initializer}
    outputs = {value.name for value in graph.output}
    arguments = {name for node in graph.node if node.op_type in rules.arguments for name in node.input}
    fixed = _leads_to(graph, arguments | (rules.outputs & outputs))
    single = set(fixed)
    in_single = {value.name for value in graph.input}
    for index, node in enumerate(graph.node):
        read = [name for name in node.input if name in floats and name not in weights]
        squares = node.op_type == "Mul" and node.input[0] == node.input[1]
        follows = node.op_type in ELEMENTWISE | LAYOUT and bool(read) and in_single.issuperset(read)
        if node.op_type in rules.operators or squares or follows:
            single.add(index)
        if index in single:
            in_single.update(node.output)
    readers: dict[str, list[int]] = {}
    for index, node in enumerate(graph.node):
        for name in node.input:
            readers.setdefault(name, []).append(index)
    for index in sorted(single - fixed, reverse=True):
        node = graph.node[index]
        if node.op_type in LAYOUT and not outputs & set(node.output):
            following = [reader for name in node.output for reader in readers.get(name, [])]
            if not single & set(following):
                single.discard(index)  # half as many bytes to move
    return single


class _Writer:
    """Writes the nodes again with the casts between them."""

    def __init__(self, model: onnx.ModelProto, single: set[int]) -> None:
        self.model, self.single = model, single
        self.floats = _float_tensors(model.graph)
        self.weights = {t.name: t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT}
        self.half = set[str]()  # tensors that half nodes wrote
        self.casts = dict[str, str]()
        self.half_weights = dict[str, onnx.TensorProto]()
        self.outputs = {value.name for value in model.graph.output}

    def written(self) -> onnx.ModelProto:
        """The converted model."""
        nodes = [node for index, old in enumerate(self.model.graph.node) for node in self._converted(index, old)]
        made = onnx.ModelProto()
        made.CopyFrom(self.model)
        del made.graph.node[:], made.graph.initializer[:], made.graph.value_info[:]
        made.graph.node.extend(nodes)
        used = {name for node in nodes for name in node.input}
        made.graph.initializer.extend(t for t in self.model.graph.initializer if t.name in used)
        made.graph.initializer.extend(self.half_weights.values())
        return made

    def _converted(self, index: int, old: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        node = onnx.NodeProto()
        node.CopyFrom(old)
        for position, name in enumerate(old.input):
            if name in self.floats:
                node.input[position] = yield from self._read(name, index in self.single)
        if index in self.single:
            yield node
            return
        if node.op_type == "Cast" and old.output[0] in self.floats:
            node.attribute[0].i = TensorProto.FLOAT16
        after = []
        for position, name in enumerate(old.output):
            if name not in self.floats:
                continue
            if name in self.outputs:
                node.output[position] = f"{name}_half"
                after.append(_cast(f"{name}_half", name, TensorProto.FLOAT))
            else:
                self.half.add(name)
        yield node
        yield from after

    def _read(self, name: str, single: bool) -> Iterator[onnx.NodeProto]:
        """The name under which a node of a precision reads a float tensor."""
        if name in self.weights:
            if single:
                return name
            if name not in self.half_weights:
                self.half_weights[name] = _half_weight(self.weights[name])
            return self.half_weights[name].name
        if (name in self.half) != single:
            return name
        if name not in self.casts:
            kind, suffix = (TensorProto.FLOAT, "single") if single else (TensorProto.FLOAT16, "half")
            self.casts[name] = f"{name}_as_{suffix}"
            yield _cast(name, self.casts[name], kind)
        return self.casts[name]


def _cast(source: str, target: str, kind: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], f"Cast_{target}", to=kind)


def _half_weight(tensor: onnx.TensorProto) -> onnx.TensorProto:
    values = numpy_helper.to_array(tensor)
    most = float(np.finfo(np.float16).max)
    bounded = np.where(np.isfinite(values), np.clip(values, -most, most), values)
    return numpy_helper.from_array(bounded.astype(np.float16), f"{tensor.name}_as_half")
