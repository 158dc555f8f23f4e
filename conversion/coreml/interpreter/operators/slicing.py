"""Parts of arrays by constant or computed bounds."""

from __future__ import annotations

from typing import Any

from .declaration import operator

Array = Any


def index_of(
    rank: int,
    begin: Array,
    end: Array,
    stride: Array | None = None,
    begin_mask: Array | None = None,
    end_mask: Array | None = None,
    squeeze_mask: Array | None = None,
) -> tuple[slice | int, ...]:
    """The same part in numpy's words: a masked bound is open, a squeezed dimension is indexed by its beginning."""

    def flags(mask: Array | None) -> list[bool]:
        return [False] * rank if mask is None else [bool(flag) for flag in mask]

    opened, closed, squeezed = flags(begin_mask), flags(end_mask), flags(squeeze_mask)
    steps = [1] * rank if stride is None else [int(step) for step in stride]
    if not len(begin) == len(end) == len(steps) == len(opened) == len(closed) == len(squeezed) == rank:
        raise ValueError(f"bounds for {len(begin)} dimensions do not fit a value of {rank}")
    return tuple(
        int(begin[i])
        if squeezed[i]
        else slice(None if opened[i] else int(begin[i]), None if closed[i] else int(end[i]), steps[i])
        for i in range(rank)
    )


@operator("slice_by_index", moves=True)
def slice_by_index(
    x: Array,
    begin: Array,
    end: Array,
    stride: Array | None = None,
    begin_mask: Array | None = None,
    end_mask: Array | None = None,
    squeeze_mask: Array | None = None,
) -> Array:
    return x[index_of(x.ndim, begin, end, stride, begin_mask, end_mask, squeeze_mask)]


@operator("slice_by_size", moves=True)
def slice_by_size(x: Array, begin: Array, size: Array) -> Array:
    """A size of -1 reaches to the end."""
    parts = []
    for i, (first, count) in enumerate(zip(begin, size, strict=True)):
        first = int(first) % x.shape[i]
        stop = x.shape[i] if count == -1 else first + int(count)
        if stop > x.shape[i]:
            raise ValueError(f"{count} from {first} reach beyond the {x.shape[i]} of dimension {i}")
        parts.append(slice(first, stop))
    return x[tuple(parts)]


@operator("slice_update", alike=("x", "update"), moves=True)
def slice_update(
    x: Array,
    update: Array,
    begin: Array,
    end: Array,
    stride: Array | None = None,
    begin_mask: Array | None = None,
    end_mask: Array | None = None,
    squeeze_mask: Array | None = None,
) -> Array:
    """x with that part replaced (iOS 18)."""
    result = x.copy()
    part = index_of(x.ndim, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    if result[part].shape != update.shape:
        raise ValueError(f"an update of shape {update.shape} does not fit a part of shape {result[part].shape}")
    result[part] = update
    return result
