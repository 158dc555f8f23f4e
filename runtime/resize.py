"""Resampling of masks and images as the original does it, in numpy.

A separable linear filter is a matrix per axis: output = rows @ image @ columns.T.  Pixel centres lie at half integers
(``align_corners`` false); borders repeat.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@lru_cache(maxsize=64)
def bilinear_matrix(source: int, target: int, antialias: bool = False) -> Array:
    """Weights (target, source) of bilinear resampling along one axis; with `antialias` the triangle widens when
    shrinking.

    Positions are rounded to single precision where PyTorch rounds them: exact ones differ by up to 2e-5 of a pixel.
    """
    scale = np.float32(source) / np.float32(target)
    centre = np.arange(target) + 0.5
    if antialias:
        shrink = 1 / max(scale, np.float32(1))
        from_centre = np.arange(source, dtype=np.float32) - (centre.astype(np.float32) * scale)[:, None]
        weight = np.clip(1 - np.abs(from_centre + 0.5) * shrink, 0, None)
        weight /= weight.sum(1, keepdims=True)
    else:
        position = (centre * float(scale) - 0.5).astype(np.float32)  # one rounding: a fused multiply-add
        position = np.clip(position, 0, source - 1)
        low = np.floor(position).astype(int)
        high = np.minimum(low + 1, source - 1)
        fraction = position - low.astype(np.float32)
        weight = np.zeros((target, source), np.float32)
        rows = np.arange(target)
        np.add.at(weight, (rows, low), 1 - fraction)
        np.add.at(weight, (rows, high), fraction)
    matrix: Array = weight.astype(np.float32)
    matrix.setflags(write=False)
    return matrix


def resize(maps: Array, height: int, width: int, antialias: bool = False) -> Array:
    """Resample (..., h, w) maps bilinearly to (..., height, width)."""
    rows = bilinear_matrix(maps.shape[-2], height, antialias)
    columns = bilinear_matrix(maps.shape[-1], width, antialias)
    return rows @ (maps @ columns.T)
