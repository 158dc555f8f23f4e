"""Fused operators of a graph written in standard ones, as an exporter that knows nothing of ONNX Runtime would."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..int8.tensor_names import TensorNames, shapes_of
from ..ort.operators import DOMAIN


def in_standard_operators(model: onnx.ModelProto, kinds: Collection[str]) -> onnx.ModelProto:
    """A copy of `model` without ``com.microsoft`` operators of the given kinds.

    Args:
        model: of static shapes, weights inside.
        kinds: of ``MultiHeadAttention`` (queries, keys, values, a bias on scores) and ``Gelu``.

    Raises:
        ValueError: there is none of them, or of another kind.
    """
    unknown = sorted(set(kinds) - {"MultiHeadAttention", "Gelu"})
    if unknown:
        raise ValueError(f"there is no standard form of {unknown[0]} here")
    wanted = {i: node for i, node in enumerate(model.graph.node) if node.domain == DOMAIN and node.op_type in kinds}
    if not wanted:
        raise ValueError(f"{model.graph.name} has no operator {' or '.join(sorted(kinds))}")
    result = onnx.ModelProto()
    result.CopyFrom(model)
    queries = shapes_of(model, [node.input[0] for node in wanted.values()])
    writer = _Writer(TensorNames(result.graph))
    written: list[onnx.NodeProto] = []
    for index, node in enumerate(model.graph.node):
        if index not in wanted:
            kept = onnx.NodeProto()
            kept.CopyFrom(node)
            written.append(kept)
        elif node.op_type == "Gelu":
            written += writer.gelu(node)
        else:
            written += writer.attention(node, queries[node.input[0]][-1])
    result.graph.ClearField("node")
    result.graph.node.extend(written)
    result.graph.initializer.extend(writer.constants)
    return result


class _Writer:
    """Nodes and constants in place of fused nodes."""

    def __init__(self, names: TensorNames) -> None:
        self.names = names
        self.constants: list[onnx.TensorProto] = []
        self.nodes: list[onnx.NodeProto] = []

    def constant(self, values: object, kind: type) -> str:
        tensor = numpy_helper.from_array(np.array(values, kind), self.names.fresh("standard_constant"))
        self.constants.append(tensor)
        return tensor.name

    def add(self, kind: str, *inputs: str, **options: Any) -> str:
        output = self.names.fresh(f"standard_{kind}")
        self.nodes.append(helper.make_node(kind, list(inputs), [output], f"make_{output}", **options))
        return output

    def finished(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """What was added, the last result under the name that the fused node gave it."""
        made, self.nodes = self.nodes, []
        made[-1].output[0] = node.output[0]
        return made

    def gelu(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        x = node.input[0]
        inner = self.add("Erf", self.add("Div", x, self.constant(2**0.5, np.float32)))
        product = self.add("Mul", x, self.add("Add", inner, self.constant(1, np.float32)))
        self.add("Mul", product, self.constant(0.5, np.float32))
        return self.finished(node)

    def attention(self, node: onnx.NodeProto, width: int) -> list[onnx.NodeProto]:
        options = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        heads = options["num_heads"]
        q, k, v = node.input[:3]
        bias = node.input[5] if len(node.input) > 5 else ""
        if heads > 1:
            split = self.constant((0, 0, heads, -1), np.int64)
            q, k, v = (self.add("Reshape", x, split) for x in (q, k, v))
            q, v = (self.add("Transpose", x, perm=[0, 2, 1, 3]) for x in (q, v))
        k = self.add("Transpose", k, perm=[0, 2, 3, 1] if heads > 1 else [0, 2, 1])
        scale = options.get("scale", 0.0) or (width // heads) ** -0.5
        scores = self.add("MatMul", self.add("Mul", q, self.constant(scale, np.float32)), k)
        if bias:
            scores = self.add("Add", scores, bias)
        read = self.add("MatMul", self.add("Softmax", scores, axis=-1), v)
        if heads > 1:
            joined = self.constant((0, 0, -1), np.int64)
            self.add("Reshape", self.add("Transpose", read, perm=[0, 2, 1, 3]), joined)
        return self.finished(node)
