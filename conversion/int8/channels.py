"""A weight matrix in signed bytes with one scale per output channel."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LARGEST = 127
"""-128 is not used, so that the grid is symmetric and its zero point 0."""


class ChannelWeights(NamedTuple):
    """`values` (K, N) int8 times `scale` (N,) float32 is close to the matrix, to half a step."""

    values: NDArray[np.int8]
    scale: NDArray[np.float32]


def quantize_channels(matrix: NDArray[np.float32]) -> ChannelWeights:
    """Round each column of a (K, N) matrix to multiples of a 127th of its largest magnitude.

    The full range of the byte is used.  That is exact where products of bytes are added up in 32 bits (VNNI, AMX, Arm).
    Older x86 processors add two of them in 16 bits with saturation, which 255 * 127 * 2 exceeds; ONNX Runtime takes
    other kernels there if the session sets ``session.x64quantprecision`` to 1, which is slower and changes no
    result elsewhere.

    Raises:
        ValueError: a value is not finite.
    """
    if not np.isfinite(matrix).all():
        raise ValueError("a weight that is infinite or not a number cannot be quantized")
    largest = np.abs(matrix).max(0).astype(np.float32)
    scale = np.where(largest > 0, largest / np.float32(LARGEST), np.float32(1)).astype(np.float32)
    values = np.clip(np.rint(matrix.astype(np.float64) / scale), -LARGEST, LARGEST)
    return ChannelWeights(values.astype(np.int8), scale)
