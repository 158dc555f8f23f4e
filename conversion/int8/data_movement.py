"""Bytes are moved instead of floats: a tensor is quantized before it is cut, transposed or gathered.

Moving numbers changes none of them, so both orders give the same bytes where every number is kept (a gather that leaves
rows out may see a smaller range when it comes first).  Four times less memory is moved, and what a gather repeats is
quantized once.
"""

from __future__ import annotations

from collections import Counter

import onnx

MOVERS = frozenset({"Gather", "Reshape", "Transpose"})


def source_before_movement(graph: onnx.GraphProto, activation: str, readers: int) -> tuple[str, list[int]]:
    """Where to quantize a tensor that `readers` quantized layers read.

    Returns:
        The tensor to quantize, and the indices of the nodes that move it, first to last; none if something else reads
        one of the tensors on the way.
    """
    producer = {node.output[0]: index for index, node in enumerate(graph.node) if node.op_type in MOVERS}
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(value.name for value in graph.output)
    path: list[int] = []
    while activation in producer and uses[activation] == readers:
        path.insert(0, producer[activation])
        activation, readers = graph.node[path[0]].input[0], 1
    return activation, path
