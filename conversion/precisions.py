"""The graphs of the `ort` variant in every precision."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import onnx

from .half import to_half
from .int8 import PARTS, to_int8
from .ort.written_attention import write_out_attention
from .scenario import Call


def in_precision(
    model: onnx.ModelProto,
    graph: str,
    precision: str,
    width: int,
    calls: Sequence[Call],
    int8_parts: Collection[str] = tuple(PARTS),
) -> onnx.ModelProto:
    """A float32 graph in another precision; the model itself where that changes nothing.

    Args:
        graph: its name in the contract.
        precision: ``fp32``, ``fp16`` or ``int8``.
        width: of the model's features.
        calls: recorded ones, of which the graph's own show how large its channels are.
        int8_parts: what ``int8`` puts into integers, of `PARTS`.

    Raises:
        ValueError: there is no such part.
    """
    if precision == "fp16":
        return to_half(model)
    if precision == "int8":
        model = to_int8(model, graph, width, [call.inputs for call in calls if call.graph == graph], int8_parts)
    return write_out_attention(model)
