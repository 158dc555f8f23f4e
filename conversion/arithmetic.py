"""The multiply-adds of an ONNX graph: what its matrix products and convolutions come to, whatever machine runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import onnx

from .int8.tensor_names import shapes_of

Shapes = Mapping[str, tuple[int, ...]]

FIRST_FACTOR = frozenset(("FusedMatMul", "Gemm", "MatMul", "MatMulInteger", "MatMulIntegerToFloat", "QLinearMatMul"))
"""Products whose first input is a factor (..., M, K), or (K, M) with `transA`."""
KERNEL = {"Conv": 1, "ConvInteger": 1, "FusedConv": 1, "QLinearConv": 3, "ConvTranspose": 1}
"""Convolutions, and which of their inputs is the kernel."""
ATTENTION = "MultiHeadAttention"
INTEGER = frozenset(("MatMulInteger", "MatMulIntegerToFloat", "QLinearMatMul", "ConvInteger", "QLinearConv"))
_RECURRENT = ("GRU", "LSTM", "RNN")
_FUSED = ("DynamicQuantizeMatMul", "Einsum", "FusedGemm", "MatMulNBits", "QGemm")
_ATTENTION = ("Attention", "GroupQueryAttention", "PackedMultiHeadAttention", "QAttention")
UNKNOWN = frozenset((*_RECURRENT, *_FUSED, *_ATTENTION))
"""Operators that multiply matrices and are not counted here; passing over them would give too low a number."""


@dataclass(frozen=True)
class Arithmetic:
    """One call of a graph.  multiply_adds: by operator.  Elementwise work, norms and softmax are not in it."""

    multiply_adds: Mapping[str, int]

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.multiply_adds.values())

    @property
    def integer(self) -> int:
        """Those of them that are done in 8-bit integers."""
        return sum(count for kind, count in self.multiply_adds.items() if kind in INTEGER)

    def as_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        by_operator = dict(sorted(self.multiply_adds.items()))
        return {"multiply_adds": self.total, "in_integers": self.integer, "by_operator": by_operator}


def arithmetic_of_file(path: Path) -> Arithmetic:
    """Of an ONNX file of static shapes, its weights inside or in the files it refers to.

    Raises:
        ValueError: it cannot be read, or has a product that cannot be counted; one sentence.
    """
    try:
        return arithmetic_of(onnx.load(path))
    except Exception as error:  # ONNX and ONNX Runtime raise a dozen unrelated types here
        because = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"the multiply-adds of {path} cannot be counted: {because}") from error


def arithmetic_of(model: onnx.ModelProto) -> Arithmetic:
    """Of a graph of static shapes.  What follows from constants alone is not counted: it is computed at load.

    Raises:
        ValueError: a shape is not static, or an operator cannot be counted.
    """
    nodes = _products(model)
    shapes = _shapes(model, nodes)
    counts: dict[str, int] = {}
    for node in nodes:
        counts[node.op_type] = counts.get(node.op_type, 0) + _rule(node.op_type)(node, shapes)
    return Arithmetic(counts)


def _products(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes to count."""
    functions = {function.name for function in model.functions}
    constants = {tensor.name for tensor in model.graph.initializer} | {""}
    found = []
    for node in model.graph.node:
        if constants.issuperset(node.input):
            constants.update(node.output)
        elif node.op_type in UNKNOWN | functions or any(a.HasField("g") or a.graphs for a in node.attribute):
            raise ValueError(f"{model.graph.name}: {node.op_type} is not among the operators that can be counted")
        elif node.op_type in FIRST_FACTOR or node.op_type in KERNEL or node.op_type == ATTENTION:
            found.append(node)
    return found


def _shapes(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> Shapes:
    """Of everything that the nodes read and write."""
    known = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    for value in model.graph.input:
        known.setdefault(value.name, tuple(size.dim_value for size in value.type.tensor_type.shape.dim))
    wanted = {name for node in nodes for name in (*node.input, *node.output) if name and name not in known}
    return known | shapes_of(model, wanted)


def _rule(kind: str) -> Callable[[onnx.NodeProto, Shapes], int]:
    if kind == ATTENTION:
        return _attention
    if kind == "ConvTranspose":
        return _transposed_convolution
    return _convolution if kind in KERNEL else _matrix_product


def _matrix_product(node: onnx.NodeProto, shapes: Shapes) -> int:
    factor = shapes[node.input[0]]
    options = {attribute.name for attribute in node.attribute if attribute.i}
    if options & {"transBatchA", "transBatchB"}:
        raise ValueError(f"{node.name}: {node.op_type} is not counted with its first axes transposed")
    transposed = "transA" in options
    return prod(shapes[node.output[0]]) * factor[-2 if transposed else -1]


def _convolution(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Every output reads a kernel of (C / groups, *window)."""
    return prod(shapes[node.output[0]]) * prod(shapes[node.input[KERNEL[node.op_type]]][1:])


def _transposed_convolution(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Every input writes a kernel of (M / groups, *window), the part that padding cuts off included."""
    return prod(shapes[node.input[0]]) * prod(shapes[node.input[1]][1:])


def _attention(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Queries (B, N, C), keys (B, M, C) and values (B, M, D): scores, and the values they weigh."""
    inputs = [shapes[name] for name in node.input[:3] if name]
    if [len(shape) for shape in inputs] != [3, 3, 3] or any(node.input[6:]):
        raise ValueError(f"{node.name}: {ATTENTION} is only counted of queries, keys and values of three axes")
    (batch, queries, width), (_, keys, _), (_, _, values) = inputs
    return batch * queries * keys * (width + values)
