"""What is computed in integers in an `int8` bundle: which layers of which graphs.

Scores of the image encoder are not: it would gain nothing (`python -m etam_onnx.conversion.worth` measures that).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from .quantization import quantize_linears
from .scores import quantize_scores
from .smoothing import smooth_norms

PARTS = {
    "encoder": "linear layers of the image encoder",
    "memory": "linear layers of memory attention",
    "scores": "attention scores of memory attention",
}
"""What can be put into integers, each alone or together."""
NARROWEST = 64
"""Layers of memory attention with fewer inputs or outputs stay as they are: they cost less than rounding for them."""
SAMPLES = 4
"""Recorded calls of a graph that are enough to see which of its channels are large."""


def to_int8(
    model: onnx.ModelProto,
    graph: str,
    width: int,
    samples: Sequence[Mapping[str, NDArray[np.float32]]],
    parts: Collection[str] = tuple(PARTS),
) -> onnx.ModelProto:
    """A graph of the `ort` variant with the chosen parts in integers; the model itself if that is none of it.

    Args:
        model: weights inside, not in external files.
        graph: its name in the contract.
        width: of the queries of memory attention; a column behind them is a bias.
        samples: inputs that the graph was called with.
        parts: of `PARTS`.

    Raises:
        ValueError: there is no such part, or no sample.
    """
    unknown = sorted(set(parts) - set(PARTS))
    if unknown:
        raise ValueError(f"there is no part {unknown[0]!r} to put into integers, there are {', '.join(PARTS)}")
    encoder = graph == "image_encoder"
    if not encoder and not graph.startswith(("frame_attention", "memory_attention")):
        return model
    result = model
    if ("encoder" if encoder else "memory") in parts:
        smooth = smooth_norms(model, samples[:SAMPLES])
        result = quantize_linears(smooth, lambda _, matrix: encoder or min(matrix.shape) >= NARROWEST)
    if "scores" in parts and not encoder:
        result = quantize_scores(result, lambda *_: True, width)
    return result
