"""Enlarging and shrinking the last two dimensions."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from .declaration import operator
from .shape import filled_in

Array = Any
ONE = 1
SAMPLING = ("DEFAULT", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "OFFSET_CORNERS", "UNALIGN_CORNERS")


def sampled_at(size: int, count: int, sampling: str) -> Array:
    """Where along an axis of `size` numbers the `count` results lie, in indices; float64."""
    i = np.arange(count)
    if sampling == "UNALIGN_CORNERS":
        points = (i + 0.5) * (size / count) - 0.5
    elif sampling == "DEFAULT":
        points = i * (size / count)
    elif sampling == "OFFSET_CORNERS":
        points = (i + 0.5) * (max(1, size - 1) / count)
    elif count == 1:
        points = np.array([0.0 if sampling == "STRICT_ALIGN_CORNERS" else (size - 1) / 2])
    else:
        points = i * ((size - 1) / (count - 1))
    return np.clip(points, 0, size - 1)


@lru_cache(maxsize=64)
def _neighbours(size: int, count: int, sampling: str) -> tuple[Array, Array, Array]:
    points = sampled_at(size, count, sampling)
    below = np.floor(points).astype(np.int64)
    return below, np.minimum(below + 1, size - 1), (points - below).astype(np.float32)


def linear(x: Array, axis: int, count: int, sampling: str) -> Array:
    """`count` numbers along `axis` (-1 or -2), between those that are there."""
    below, above, part = _neighbours(x.shape[axis], count, sampling)
    weight = part if axis == -1 else part[:, None]
    low = np.take(x, below, axis)
    return low + (np.take(x, above, axis) - low) * weight


def bilinear(x: Array, height: int, width: int, sampling: str) -> Array:
    return linear(linear(x, -2, height, sampling), -1, width, sampling)


@operator("upsample_bilinear", only={"align_corners": (True, False), "half_pixel_centers": (None, True, False)})
def upsample_bilinear(
    x: Array,
    scale_factor_height: Array = ONE,
    scale_factor_width: Array = ONE,
    align_corners: Array = True,
    half_pixel_centers: Array | None = None,
) -> Array:
    """By factors; distances between results follow from the sizes, not from the factors.

    Half-pixel centres are what no aligned corners means; the two other combinations are not covered.
    """
    if half_pixel_centers is not None and bool(half_pixel_centers) == bool(align_corners):
        raise ValueError("aligned corners with half-pixel centres, or neither, are not covered")
    height = int(np.floor(x.shape[-2] * scale_factor_height))
    width = int(np.floor(x.shape[-1] * scale_factor_width))
    return bilinear(x, height, width, "STRICT_ALIGN_CORNERS" if align_corners else "UNALIGN_CORNERS")


@operator("resize_bilinear", only={"sampling_mode": SAMPLING})
def resize_bilinear(
    x: Array, target_size_height: Array = ONE, target_size_width: Array = ONE, sampling_mode: str = "DEFAULT"
) -> Array:
    return bilinear(x, int(target_size_height), int(target_size_width), sampling_mode)


@operator("resize", only={"sampling_mode": SAMPLING, "interpolation_mode": ("LINEAR",), "resized_dims": (1, 2)})
def resize(
    x: Array,
    shape: Array,
    resized_dims: Array,
    interpolation_mode: str = "LINEAR",
    sampling_mode: str = "DEFAULT",
) -> Array:
    """The last one or two dimensions to the last sizes of `shape`; a size of 0 is that of x."""
    count = int(resized_dims)
    for axis, size in zip(range(-count, 0), filled_in(shape, x.shape)[-count:], strict=True):
        x = linear(x, axis, size, sampling_mode)
    return x


@operator("upsample_nearest_neighbor", moves=True)
def upsample_nearest_neighbor(x: Array, scale_factor_height: Array = ONE, scale_factor_width: Array = ONE) -> Array:
    """By whole factors, each number repeated."""
    factors = [float(scale_factor_height), float(scale_factor_width)]
    if any(factor != int(factor) for factor in factors):
        raise ValueError(f"only whole factors are covered, not {factors}")
    return x.repeat(int(factors[0]), -2).repeat(int(factors[1]), -1)
