"""The scores of attention in integers: softmax(s_q s_k (q_q - z_q)(k_q - z_k)^T) v, softmax and values in float32.

Keys are no constants, so ONNX Runtime cannot choose other kernels for them on processors that add two products of bytes
in 16 bits.  Both sides are therefore quantized to `LEVELS` steps, with which two products always fit.
The fused operator would hold the scores in its tiles; here they are computed in chunks of rows that stay in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .tensor_names import TensorNames, shapes_of

DOMAIN = "com.microsoft"
LEVELS = 178
"""Steps from the smallest to the largest number.  Rounding may add one at either end: 179 * 90 * 2 < 2**15."""
CHUNK = 2**20
"""Scores in a chunk of rows, unless a row alone has more."""

Chosen = Callable[[str, int, int], bool] | Collection[str]


def quantize_scores(model: onnx.ModelProto, chosen: Chosen, width: int | None = None) -> onnx.ModelProto:
    """A copy of `model` in which chosen attention nodes compute their scores in integers.

    Only ``com.microsoft`` MultiHeadAttention with queries (B, N, heads * D), keys, values and nothing else can be
    taken; equal input gives equal bytes.

    Args:
        model: of static shapes, weights inside, not in external files.
        chosen: names of nodes; or a function that is asked with the name of each such node, its queries N and its
            keys M.
        width: columns that are compared.  If there are more, the next one of the keys is a bias of their scores (that
            of the queries is 1, and whatever follows is 0); it stays in float32, because it may be very large.

    Raises:
        ValueError: a chosen name is not such a node, several heads or batches have a bias, or a shape is not static.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    nodes = [node for node in result.graph.node if _is_plain(node)]
    shapes = shapes_of(result, [name for node in nodes for name in node.input[:2]])
    sizes = {node.name: (shapes[node.input[0]], shapes[node.input[1]][1]) for node in nodes}
    if callable(chosen):
        names = {name for name, (queries, keys) in sizes.items() if chosen(name, queries[1], keys)}
    else:
        names = set(chosen)
    missing = sorted(names - set(sizes))
    if missing:
        raise ValueError(f"{missing[0]} is not the name of a MultiHeadAttention of queries, keys and values alone")
    if not names:
        return result
    expansion = _Expansion(TensorNames(result.graph), width)
    made = [
        part
        for node in result.graph.node
        for part in (expansion.expand(node, *sizes[node.name]) if node.name in names and _is_plain(node) else (node,))
    ]
    graph = onnx.GraphProto()
    graph.node.extend(made)
    graph.initializer.extend(expansion.constants.values())
    result.graph.ClearField("node")
    result.graph.MergeFrom(graph)
    return result


def _is_plain(node: onnx.NodeProto) -> bool:
    return (
        node.domain == DOMAIN
        and node.op_type == "MultiHeadAttention"
        and len([name for name in node.input if name]) == len(node.input[:3]) == 3
        and {attribute.name for attribute in node.attribute} <= {"num_heads", "scale"}
    )


class _Expansion:
    """Nodes in place of attention nodes; constants are shared between them."""

    def __init__(self, names: TensorNames, width: int | None) -> None:
        self.names, self.width = names, width
        self.constants: dict[tuple[str, bytes], onnx.TensorProto] = {}
        self.nodes: list[onnx.NodeProto] = []

    def constant(self, values: np.ndarray | float) -> str:
        array = np.asarray(values, np.float32) if isinstance(values, float) else values
        key = (str(array.dtype) + str(array.shape), array.tobytes())
        if key not in self.constants:
            name = self.names.fresh(f"constant_{len(self.constants)}_of_scores")
            self.constants[key] = numpy_helper.from_array(array, name)
        return self.constants[key].name

    def add(self, kind: str, inputs: list[str], name: str = "", domain: str = "", **options: Any) -> str:
        output = self.names.fresh(name or f"{kind}_of_scores")
        self.nodes.append(helper.make_node(kind, inputs, [output], f"make_{output}", domain=domain, **options))
        return output

    def expand(self, node: onnx.NodeProto, queries: tuple[int, ...], keys: int) -> list[onnx.NodeProto]:
        self.nodes = []
        q, k, v = node.input
        options = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        heads = options["num_heads"]
        batch, rows, columns = queries
        scale = options.get("scale", 0.0) or (columns // heads) ** -0.5
        bias = []
        if self.width is not None and columns > self.width:
            if heads > 1 or batch > 1:
                raise ValueError(
                    f"{node.name} has a bias on its scores and {heads} heads, {batch} batches: one of each"
                )
            bias = [self.bias(k, self.width, scale)]
            q, k = (self.columns(x, 0, self.width) for x in (q, k))
        q, q_step, q_zero = self.quantized(q, 0, TensorProto.UINT8)
        k, k_step, k_zero = self.quantized(k, LEVELS // 2, TensorProto.INT8)
        k_step = self.add("Mul", [k_step, self.constant(float(scale))])
        if heads > 1:
            split = self.constant(np.array([0, 0, heads, -1]))
            q, k, v = (self.add("Reshape", [x, split]) for x in (q, k, v))
            q, v = (self.add("Transpose", [x], perm=[0, 2, 1, 3]) for x in (q, v))
        k = self.add("Transpose", [k], perm=[0, 2, 3, 1] if heads > 1 else [0, 2, 1])

        axis = 2 if heads > 1 else 1
        chunk = max(1, CHUNK // (batch * heads * keys))
        parts = []
        for start in range(0, rows, chunk):
            bounds = (np.array([start]), np.array([min(start + chunk, rows)]), np.array([axis]))
            part = q if chunk >= rows else self.add("Slice", [q, *(self.constant(value) for value in bounds)])
            inputs = [part, k, q_step, k_step, q_zero, k_zero, *bias]
            weights = self.add("Softmax", [self.add("MatMulIntegerToFloat", inputs, domain=DOMAIN)], axis=-1)
            parts.append(self.add("MatMul", [weights, v]))
        out = parts[0] if len(parts) == 1 else self.add("Concat", parts, axis=axis)
        if heads > 1:
            out = self.add("Transpose", [out], perm=[0, 2, 1, 3])
            out = self.add("Reshape", [out, self.constant(np.array([0, 0, -1]))])
        self.nodes[-1].output[0] = node.output[0]
        return self.nodes

    def columns(self, tensor: str, start: int, stop: int) -> str:
        bounds = (np.array([start]), np.array([stop]), np.array([2]))
        return self.add("Slice", [tensor, *(self.constant(value) for value in bounds)])

    def bias(self, keys: str, column_index: int, scale: float) -> str:
        """A column of the keys, scaled as the scores are, (M,)."""
        column = self.columns(keys, column_index, column_index + 1)
        column = self.add("Reshape", [column, self.constant(np.array([-1]))])
        return column if scale == 1 else self.add("Mul", [column, self.constant(float(scale))])

    def quantized(self, tensor: str, shift: int, kind: int) -> tuple[str, str, str]:
        """`tensor` in LEVELS steps: names of its bytes, its step and its zero point, which is lower by `shift`."""
        _, step, zero = (self.names.fresh(f"{tensor}_{part}") for part in ("measured", "range", "zero"))
        self.nodes.append(helper.make_node("DynamicQuantizeLinear", [tensor], [_, step, zero], f"measure_{step}"))
        step = self.add("Mul", [step, self.constant(255 / LEVELS)])
        place = self.add("Mul", [self.add("Cast", [zero], to=TensorProto.FLOAT), self.constant(LEVELS / 255)])
        place = self.add("Round", [self.add("Sub", [place, self.constant(float(shift))]) if shift else place])
        zero = self.add("Cast", [place], to=kind)
        return self.add("QuantizeLinear", [tensor, step, zero], f"{tensor}_scored"), step, zero
