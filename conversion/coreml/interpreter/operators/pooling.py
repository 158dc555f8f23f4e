"""Pooling over windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..tensors import as_tensor
from .convolution import PAD_TYPES, padding_of, sizes_of, surrounded
from .declaration import operator

Array = Any
FALSE = False
COVERED = {"pad_type": PAD_TYPES, "ceil_mode": (False,)}


def _average(x: torch.Tensor, kernel: list[int], strides: list[int]) -> torch.Tensor:
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[len(kernel) - 1]
    return pool(x, kernel, strides)


@operator("avg_pool", only=COVERED)
def avg_pool(
    x: Array,
    kernel_sizes: Array,
    strides: Array | None = None,
    pad_type: str = "valid",
    pad: Array | None = None,
    exclude_padding_from_average: Array = FALSE,
    ceil_mode: Array = FALSE,
) -> Array:
    """x (N, C, ...); padding counts as zeros, or not at all."""
    dimensions = x.ndim - 2
    kernel, steps = [int(size) for size in kernel_sizes], sizes_of(strides, dimensions)
    padding = padding_of(pad_type, pad, dimensions)
    average = _average(surrounded(as_tensor(x), padding), kernel, steps)
    if exclude_padding_from_average and any(map(any, padding)):
        inside = surrounded(torch.ones((1, 1, *x.shape[2:])), padding)
        average = average / _average(inside, kernel, steps)
    return average.numpy()


@operator("max_pool", only=COVERED)
def max_pool(
    x: Array,
    kernel_sizes: Array,
    strides: Array | None = None,
    pad_type: str = "valid",
    pad: Array | None = None,
    ceil_mode: Array = FALSE,
) -> Array:
    """x (N, C, ...); padding never wins."""
    dimensions = x.ndim - 2
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[dimensions - 1]
    padded = surrounded(as_tensor(x), padding_of(pad_type, pad, dimensions), -np.inf)
    return pool(padded, [int(size) for size in kernel_sizes], sizes_of(strides, dimensions)).numpy()
