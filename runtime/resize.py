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
    """
    scale = source / target
    centre = (np.arange(target) + 0.5) * scale
    if antialias:
        support = max(scale, 1.0)
        distance = np.abs(np.arange(source) + 0.5 - centre[:, None]) / support
        weight = np.clip(1 - distance, 0, None)
        weight /= weight.sum(1, keepdims=True)
    else:
        position = np.clip(centre - 0.5, 0, source - 1)
        low = np.floor(position).astype(int)
        high = np.minimum(low + 1, source - 1)
        fraction = position - low
        weight = np.zeros((target, source))
        rows = np.arange(target)
        np.add.at(weight, (rows, low), 1 - fraction)
        np.add.at(weight, (rows, high), fraction)
    matrix = weight.astype(np.float32)
    matrix.setflags(write=False)
    return matrix


def resize(maps: Array, height: int, width: int, antialias: bool = False) -> Array:
    """Resample (..., h, w) maps bilinearly to (..., height, width)."""
    rows = bilinear_matrix(maps.shape[-2], height, antialias)
    columns = bilinear_matrix(maps.shape[-1], width, antialias)
    return rows @ (maps @ columns.T)
