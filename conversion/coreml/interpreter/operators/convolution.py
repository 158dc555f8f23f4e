"""Convolutions in one to three dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from ..tensors import as_tensor
from .declaration import operator

Array = Any
ONE = 1
PAD_TYPES = ("valid", "custom")
"""`same` is left out: its documentation gives two rules for where the padding goes, which differ for even sizes."""


def padding_of(pad_type: str, pad: Array | None, dimensions: int) -> list[tuple[int, int]]:
    """(before, after) of each spatial dimension; a padding given beside `valid` does not count."""
    if pad_type == "valid" or pad is None:
        return [(0, 0)] * dimensions
    if len(pad) != 2 * dimensions:
        raise ValueError(f"{len(pad)} numbers of padding do not fit {dimensions} dimensions")
    return [(int(pad[2 * i]), int(pad[2 * i + 1])) for i in range(dimensions)]


def sizes_of(sizes: Array | None, dimensions: int) -> list[int]:
    """Strides or dilations as integers, ones where not given."""
    return [1] * dimensions if sizes is None else [int(size) for size in sizes]


def surrounded(x: torch.Tensor, padding: Sequence[tuple[int, int]], value: float = 0.0) -> torch.Tensor:
    """x with `value` around its last dimensions."""
    flat = [size for pair in reversed(padding) for size in pair]
    return F.pad(x, flat, value=value) if any(flat) else x


@operator("conv", only={"pad_type": PAD_TYPES})
def conv(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    strides: Array | None = None,
    pad_type: str = "valid",
    pad: Array | None = None,
    dilations: Array | None = None,
    groups: Array = ONE,
) -> Array:
    """x (N, C, ...), weight (out, C / groups, ...)."""
    dimensions = x.ndim - 2
    convolve = (F.conv1d, F.conv2d, F.conv3d)[dimensions - 1]
    padded = surrounded(as_tensor(x), padding_of(pad_type, pad, dimensions))
    return convolve(
        padded,
        as_tensor(weight),
        None if bias is None else as_tensor(bias),
        sizes_of(strides, dimensions),
        0,
        sizes_of(dilations, dimensions),
        int(groups),
    ).numpy()


@operator("conv_transpose", only={"pad_type": PAD_TYPES})
def conv_transpose(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    pad: Array | None = None,
    output_shape: Array | None = None,
    pad_type: str = "valid",
    strides: Array | None = None,
    dilations: Array | None = None,
    groups: Array = ONE,
) -> Array:
    """x (N, C, ...), weight (C, out / groups, ...); the padding is cut off the result."""
    dimensions = x.ndim - 2
    spread = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[dimensions - 1]
    whole = spread(
        as_tensor(x),
        as_tensor(weight),
        None if bias is None else as_tensor(bias),
        sizes_of(strides, dimensions),
        0,
        0,
        int(groups),
        sizes_of(dilations, dimensions),
    ).numpy()
    padding = padding_of(pad_type, pad, dimensions)
    inner = [slice(b, size - a) for (b, a), size in zip(padding, whole.shape[2:], strict=True)]
    result = whole[(slice(None), slice(None), *inner)]
    if output_shape is not None and tuple(output_shape) != result.shape:
        raise ValueError(f"the output shape {list(output_shape)} is not that of its padding, {list(result.shape)}")
    return result
