"""Reductions over axes, and running sums."""

from __future__ import annotations

from typing import Any

import numpy as np

from .declaration import always, operator

Array = Any
FALSE = False


def _axes(axes: Array | None) -> tuple[int, ...] | None:
    return None if axes is None else tuple(int(axis) for axis in axes)


def _log_sum_exp(x: Array, axis: tuple[int, ...] | None, keepdims: bool) -> Array:
    peak = x.max(axis=axis, keepdims=True)
    total = np.log(np.exp(x - peak).sum(axis=axis, keepdims=True)) + peak
    return total if keepdims else total.squeeze(axis)


_REDUCTIONS: dict[str, Any] = {
    "reduce_max": np.max,
    "reduce_min": np.min,
    "reduce_mean": np.mean,
    "reduce_sum": np.sum,
    "reduce_prod": np.prod,
    "reduce_l1_norm": lambda x, axis, keepdims: np.abs(x).sum(axis=axis, keepdims=keepdims),
    "reduce_l2_norm": lambda x, axis, keepdims: np.sqrt(np.square(x).sum(axis=axis, keepdims=keepdims)),
    "reduce_log_sum": lambda x, axis, keepdims: np.log(x.sum(axis=axis, keepdims=keepdims)),
    "reduce_log_sum_exp": _log_sum_exp,
    "reduce_sum_square": lambda x, axis, keepdims: np.square(x).sum(axis=axis, keepdims=keepdims),
}


def _reducing(function: Any) -> Any:
    def compute(x: Array, axes: Array | None = None, keep_dims: Array = FALSE) -> Array:
        """Over all axes if none are given."""
        return np.asarray(function(x, axis=_axes(axes), keepdims=bool(keep_dims))).astype(x.dtype, copy=False)

    return compute


for _kind, _function in _REDUCTIONS.items():
    operator(_kind)(_reducing(_function))


def _index(function: Any, x: Array, axis: Array, keep_dims: Array) -> Array:
    return np.asarray(function(x, axis=int(axis), keepdims=bool(keep_dims))).astype(np.int32)


@operator("reduce_argmax", result=always("int32"), only={"output_dtype": ("int32",)})
def reduce_argmax(x: Array, axis: Array = -1, keep_dims: Array = FALSE, output_dtype: str = "int32") -> Array:
    return _index(np.argmax, x, axis, keep_dims)


@operator("reduce_argmin", result=always("int32"), only={"output_dtype": ("int32",)})
def reduce_argmin(x: Array, axis: Array = -1, keep_dims: Array = FALSE, output_dtype: str = "int32") -> Array:
    return _index(np.argmin, x, axis, keep_dims)


@operator("cumsum", only={"exclusive": (False,), "reverse": (False,)})
def cumsum(x: Array, axis: Array = 0, exclusive: Array = FALSE, reverse: Array = FALSE) -> Array:
    return np.cumsum(x, axis=int(axis), dtype=x.dtype)
