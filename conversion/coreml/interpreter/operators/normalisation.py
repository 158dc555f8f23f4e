"""Normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from .declaration import operator

Array = Any
SMALL = 1e-5


def _per_channel(values: Array, x: Array) -> Array:
    return values.reshape(-1, *(1,) * (x.ndim - 2))


@operator("layer_norm")
def layer_norm(
    x: Array, axes: Array | None = None, gamma: Array | None = None, beta: Array | None = None, epsilon: Array = SMALL
) -> Array:
    """Over `axes`, all of them if absent; gamma and beta have the sizes of those axes."""
    over = range(x.ndim) if axes is None else sorted(int(axis) % x.ndim for axis in axes)
    kept = [size if axis in over else 1 for axis, size in enumerate(x.shape)]
    centred = x - x.mean(tuple(over), keepdims=True)
    y = centred / np.sqrt(np.square(centred).mean(tuple(over), keepdims=True) + epsilon)
    if gamma is not None:
        y = y * gamma.reshape(kept)
    return y if beta is None else y + beta.reshape(kept)


@operator("batch_norm")
def batch_norm(
    x: Array,
    mean: Array,
    variance: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    epsilon: Array = SMALL,
) -> Array:
    """x (N, C, ...), the rest (C,)."""
    y = (x - _per_channel(mean, x)) / np.sqrt(_per_channel(variance, x) + epsilon)
    if gamma is not None:
        y = y * _per_channel(gamma, x)
    return y if beta is None else y + _per_channel(beta, x)


@operator("instance_norm")
def instance_norm(x: Array, gamma: Array | None = None, beta: Array | None = None, epsilon: Array = SMALL) -> Array:
    """x (N, C, ...), each channel of each instance by itself; gamma and beta (C,)."""
    y = layer_norm(x, np.arange(2, x.ndim), epsilon=epsilon)
    if gamma is not None:
        y = y * _per_channel(gamma, x)
    return y if beta is None else y + _per_channel(beta, x)


@operator("l2_norm")
def l2_norm(x: Array, epsilon: Array = 1e-6) -> Array:
    """Over the last three dimensions."""
    return x / np.sqrt(np.square(x).sum((-3, -2, -1), keepdims=True) + epsilon)
