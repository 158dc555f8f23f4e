"""The linear layers of an ONNX graph: products of an activation and a constant matrix, with the bias they add."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper


@dataclass(frozen=True)
class Linear:
    """activation (..., K) @ matrix (K, N) + bias + added = output.

    weight: name of the constant behind the matrix.  transposed: whether the constant is (N, K).  bias: name of a
    constant of shape (N,), or None.  added: name of any other tensor that a Gemm adds, or None.  nodes: indices of the
    nodes that compute it.
    """

    weight: str
    transposed: bool
    matrix: NDArray[np.float32]
    activation: str
    bias: str | None
    added: str | None
    output: str
    nodes: tuple[int, ...]


def linears_of(graph: onnx.GraphProto) -> list[Linear]:
    """Every linear layer with a float32 matrix as a constant, in the order of the graph.

    A MatMul takes along the Add of a constant (N,) behind it, if nothing else reads the product.  A Gemm counts if it
    neither scales nor transposes its activation.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    outputs = {value.name for value in graph.output}
    uses = Counter(name for node in graph.node for name in node.input)
    reader = {name: index for index, node in enumerate(graph.node) for name in node.input}
    found = []
    for index, node in enumerate(graph.node):
        if node.domain not in ("", "ai.onnx") or node.op_type not in ("MatMul", "Gemm"):
            continue
        tensor = constants.get(node.input[1])
        if tensor is None or tensor.data_type != onnx.TensorProto.FLOAT or len(tensor.dims) != 2:
            continue
        matrix = numpy_helper.to_array(tensor)
        if node.op_type == "Gemm":
            options = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            if options.get("transA", 0) or options.get("alpha", 1.0) != 1 or options.get("beta", 1.0) != 1:
                continue
            transposed = bool(options.get("transB", 0))
            matrix = matrix.T if transposed else matrix
            addend = node.input[2] if len(node.input) > 2 and node.input[2] else None
            is_bias = addend in constants and tuple(constants[addend].dims) == (matrix.shape[1],)
            bias, added = (addend, None) if is_bias else (None, addend)
            found.append(Linear(tensor.name, transposed, matrix, node.input[0], bias, added, node.output[0], (index,)))
            continue
        bias, output = None, node.output[0]
        nodes: tuple[int, ...] = (index,)
        if uses[output] == 1 and output not in outputs:
            behind = graph.node[reader[output]]
            other = next((name for name in behind.input if name != output), "")
            if behind.op_type == "Add" and other in constants and tuple(constants[other].dims) == (matrix.shape[1],):
                bias, nodes, output = other, (index, reader[output]), behind.output[0]
        found.append(Linear(tensor.name, False, matrix, node.input[0], bias, None, output, nodes))
    return found
