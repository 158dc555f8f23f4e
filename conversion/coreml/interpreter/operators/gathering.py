"""Values by computed indices: gathering, scattering and one-hot.

Negative indices, which iOS 15 and 16 allow and iOS 17 calls out of bounds, and all others out of bounds are errors.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .declaration import operator

Array = Any
FALSE = False
FIRST, LAST = 0, np.int32(-1)
MODES: dict[str, Any] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
}


def _checked(indices: Array, size: int) -> Array:
    if indices.size and (indices.min() < 0 or indices.max() >= size):
        raise IndexError(f"indices reach from {indices.min()} to {indices.max()}, there are {size} values")
    return indices.astype(np.int64)


def _scattered(data: Array, index: tuple[Any, ...], updates: Array, mode: str) -> Array:
    """`data` with `updates` at `index`, one after the other where several meet."""
    result = data.copy()
    if result[index].shape != updates.shape:
        raise ValueError(f"updates of shape {updates.shape} do not fit places of shape {result[index].shape}")
    if mode == "update":
        result[index] = updates
    else:
        MODES[mode].at(result, index, updates)
    return result


def _along(data: Array, indices: Array, axis: int) -> tuple[Any, ...]:
    places: list[Any] = list(np.indices(indices.shape, sparse=True))
    places[axis] = _checked(indices, data.shape[axis])
    return tuple(places)


@operator("gather", only={"batch_dims": (0,)}, moves=True)
def gather(
    x: Array, indices: Array, axis: Array = FIRST, batch_dims: Array = FIRST, validate_indices: Array = FALSE
) -> Array:
    return np.take(x, _checked(indices, x.shape[int(axis)]), int(axis))


@operator("gather_along_axis", moves=True)
def gather_along_axis(x: Array, indices: Array, axis: Array = FIRST, validate_indices: Array = FALSE) -> Array:
    return np.take_along_axis(x, _checked(indices, x.shape[int(axis)]), int(axis))


def _places(x: Array, indices: Array) -> tuple[Any, ...]:
    """Indices (..., K) of the first K dimensions."""
    return tuple(_checked(part, size) for part, size in zip(np.moveaxis(indices, -1, 0), x.shape, strict=False))


@operator("gather_nd", only={"batch_dims": (0,)}, moves=True)
def gather_nd(x: Array, indices: Array, batch_dims: Array = FIRST, validate_indices: Array = FALSE) -> Array:
    return x[_places(x, indices)]


COVERED = {"mode": (*MODES, "update")}


@operator("scatter", only=COVERED, alike=("data", "updates"))
def scatter(
    data: Array,
    indices: Array,
    updates: Array,
    axis: Array = FIRST,
    mode: str = "add",
    validate_indices: Array = FALSE,
) -> Array:
    """Whole slices at indices of one axis."""
    place = int(axis) % data.ndim
    index = (*(slice(None),) * place, _checked(indices, data.shape[place]))
    return _scattered(data, index, updates, mode)


@operator("scatter_along_axis", only=COVERED, alike=("data", "updates"))
def scatter_along_axis(
    data: Array,
    indices: Array,
    updates: Array,
    axis: Array = FIRST,
    mode: str = "add",
    validate_indices: Array = FALSE,
) -> Array:
    return _scattered(data, _along(data, indices, int(axis) % data.ndim), updates, mode)


@operator("scatter_nd", only=COVERED, alike=("data", "updates"))
def scatter_nd(
    data: Array, indices: Array, updates: Array, mode: str = "add", validate_indices: Array = FALSE
) -> Array:
    return _scattered(data, _places(data, indices), updates, mode)


@operator("one_hot", result=lambda types, constants: types.get("on_value", "int32"), alike=("on_value", "off_value"))
def one_hot(
    indices: Array,
    one_hot_vector_size: Array,
    axis: Array = LAST,
    on_value: Array = 1,
    off_value: Array = 0,
) -> Array:
    """`on_value` where the new dimension's index is the given one; an index out of bounds has none."""
    size = int(one_hot_vector_size)
    place = int(axis) % (indices.ndim + 1)
    numbers = np.arange(size).reshape(size, *(1,) * (indices.ndim - place))
    on, off = (np.int32(value) if isinstance(value, int) else value for value in (on_value, off_value))
    return np.where(np.expand_dims(indices, place) == numbers, on, off)
