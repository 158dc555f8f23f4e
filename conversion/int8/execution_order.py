"""Nodes in an order in which each finds its inputs computed, as ONNX demands."""

from __future__ import annotations

from collections.abc import Iterable

import onnx


def in_execution_order(nodes: Iterable[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The same nodes; one that comes before what it reads is put off until all of that is there.

    Raises:
        ValueError: some of them wait for each other.
    """
    given = list(nodes)
    missing = {name for node in given for name in node.output}
    ordered: list[onnx.NodeProto] = []
    waiting: list[onnx.NodeProto] = []
    for node in given:
        waiting.append(node)
        while (ready := next((each for each in waiting if missing.isdisjoint(each.input)), None)) is not None:
            waiting.remove(ready)
            missing.difference_update(ready.output)
            ordered.append(ready)
    if waiting:
        raise ValueError(f"the inputs of {waiting[0].name or waiting[0].op_type} can never be computed")
    return ordered
