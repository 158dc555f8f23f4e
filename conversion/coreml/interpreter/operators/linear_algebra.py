"""Matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np

from .declaration import operator

Array = Any
FALSE = False


@operator("linear")
def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """x (..., in), weight (out, in), bias (out) or one number."""
    y = np.matmul(x, weight.T)
    return y if bias is None else y + bias


@operator("matmul", alike=("x", "y"))
def matmul(x: Array, y: Array, transpose_x: Array = FALSE, transpose_y: Array = FALSE) -> Array:
    """Products of the last two dimensions, the others broadcast."""
    if transpose_x:
        x = x.swapaxes(-1, -2)
    if transpose_y:
        y = y.swapaxes(-1, -2)
    return np.matmul(x, y)


@operator("einsum", lists=("values",))
def einsum(values: tuple[Array, ...], equation: str) -> Array:
    return np.einsum(equation, *values, optimize=True)
