"""Quantizing and dequantizing values while a program runs (iOS 17)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..working import WORKING
from .compression import along
from .declaration import like, named_by, operator

Array = Any
ZERO = 0


def _numbers(values: Array, rank: int, axis: Array | None) -> Array:
    return along(np.asarray(values, np.float32), rank, 0 if axis is None else int(axis))


@operator("quantize", result=named_by("output_dtype"), only={"output_dtype": ("uint8", "int8")})
def quantize(
    input: Array, scale: Array, output_dtype: str, zero_point: Array = ZERO, axis: Array | None = None
) -> Array:
    """round(x / scale) + zero point, held within the range of the type."""
    info = np.iinfo(np.dtype(WORKING[output_dtype]))
    steps = np.rint(input / _numbers(scale, input.ndim, axis)) + _numbers(zero_point, input.ndim, axis)
    return np.clip(steps, info.min, info.max).astype(WORKING[output_dtype])


@operator("dequantize", result=like("scale"))
def dequantize(input: Array, scale: Array, zero_point: Array = ZERO, axis: Array | None = None) -> Array:
    """scale (x - zero point)."""
    shifted = input.astype(np.float32) - _numbers(zero_point, input.ndim, axis)
    return _numbers(scale, input.ndim, axis) * shifted
