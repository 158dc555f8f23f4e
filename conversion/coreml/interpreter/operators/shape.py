"""Shapes, order and number of copies; no value changes."""

from __future__ import annotations

from typing import Any

import numpy as np

from .declaration import always, like, operator

Array = Any
FALSE = False


def filled_in(shape: Array, given: tuple[int, ...]) -> list[int]:
    """A requested shape with its zeros replaced by the sizes they stand for, counted from the right (iOS 17)."""
    sizes = [int(size) for size in shape]
    missing = len(sizes) - len(given)
    return [size or (given[i - missing] if i >= missing else 1) for i, size in enumerate(sizes)]


@operator("reshape", moves=True)
def reshape(x: Array, shape: Array) -> Array:
    return x.reshape(filled_in(shape, x.shape))


@operator("transpose", moves=True)
def transpose(x: Array, perm: Array) -> Array:
    return x.transpose([int(axis) for axis in perm])


@operator("expand_dims", moves=True)
def expand_dims(x: Array, axes: Array) -> Array:
    return np.expand_dims(x, tuple(int(axis) for axis in axes))


@operator("squeeze", moves=True)
def squeeze(x: Array, axes: Array | None = None) -> Array:
    return x.squeeze(None if axes is None else tuple(int(axis) for axis in axes))


@operator(
    "concat",
    moves=True,
    lists=("values",),
    alike=("values",),
    result=like("values"),
    only={"interleave": (False,)},
)
def concat(values: tuple[Array, ...], axis: Array, interleave: Array = FALSE) -> Array:
    """One after the other.  In turn is not covered: coremltools contradicts its own documentation there."""
    return np.concatenate(values, int(axis))


@operator("stack", moves=True, lists=("values",), alike=("values",), result=like("values"))
def stack(values: tuple[Array, ...], axis: Array) -> Array:
    return np.stack(values, int(axis))


@operator("split", moves=True)
def split(x: Array, axis: Array, num_splits: Array | None = None, split_sizes: Array | None = None) -> Any:
    """Into parts of the given sizes, or of equal ones."""
    if split_sizes is None:
        if num_splits is None:
            raise ValueError("neither the number of parts nor their sizes are given")
        return tuple(np.split(x, int(num_splits), int(axis)))
    ends = np.cumsum(split_sizes)
    if ends[-1] != x.shape[int(axis)]:
        raise ValueError(f"parts of {list(split_sizes)} do not make up {x.shape[int(axis)]}")
    return tuple(np.split(x, ends[:-1], int(axis)))


@operator("tile", moves=True)
def tile(x: Array, reps: Array) -> Array:
    return np.tile(x, [int(count) for count in reps])


@operator("reverse", moves=True)
def reverse(x: Array, axes: Array | None = None) -> Array:
    return np.flip(x, None if axes is None else tuple(int(axis) for axis in axes))


@operator("pad", moves=True, only={"mode": ("constant", "reflect", "replicate")})
def pad(x: Array, pad: Array, mode: str = "constant", constant_val: Array = 0) -> Array:
    """Pairs of sizes, before and after, of the last dimensions."""
    pairs = [(0, 0)] * (x.ndim - len(pad) // 2) + [(int(b), int(a)) for b, a in np.reshape(pad, (-1, 2))]
    if mode == "constant":
        return np.pad(x, pairs, constant_values=constant_val)
    return np.pad(x, pairs, mode="reflect" if mode == "reflect" else "edge")


@operator("shape", result=always("int32"), only={"output_dtype": ("int32",)})
def shape(x: Array, output_dtype: str = "int32") -> Array:
    return np.array(x.shape, np.int32)


@operator("fill", result=like("value"))
def fill(shape: Array, value: Array) -> Array:
    return np.full([int(size) for size in shape], value)
