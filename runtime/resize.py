"""Resampling of masks and images as the original does it, in numpy.

A separable linear filter is a matrix per axis: output = rows @ image @ columns.T.  Pixel centres lie at half integers
(``align_corners`` false); borders repeat.  Each output pixel reads only a few source pixels beside each other, so the
matrices are nearly all zeros: they are multiplied block by block, some output pixels with the source pixels they read.
What is left out are products with exact zeros.

Blocks of masks are small enough for one thread: OpenBLAS wakes others for a product of more than 262,144 factors, which
then wait for each other and for cores that the graphs are using, a hundred times as long as the product takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
BLOCK = 64  # most output pixels of a block
ANTIALIASED_BLOCK = 128  # for whole pictures, where several threads pay
MOST_PRODUCTS = 200_000


@dataclass(frozen=True, eq=False)
class Band:
    """One block of a resampling matrix: output pixels `target` read the source pixels `source`.  weights: (target,
    source).
    """

    target: slice
    source: slice
    weights: Array


@lru_cache(maxsize=64)
def bilinear_matrix(source: int, target: int, antialias: bool = False) -> Array:
    """Weights (target, source) of bilinear resampling along one axis; with `antialias` the triangle widens when
    shrinking.

    Positions are rounded to single precision where PyTorch rounds them: exact ones differ by up to 2e-5 of a pixel.
    """
    scale = np.float32(source) / np.float32(target)
    centre = np.arange(target) + 0.5
    if antialias:
        shrink = 1 / max(scale, np.float32(1))
        from_centre = np.arange(source, dtype=np.float32) - (centre.astype(np.float32) * scale)[:, None]
        weight = np.clip(1 - np.abs(from_centre + 0.5) * shrink, 0, None)
        weight /= weight.sum(1, keepdims=True)
    else:
        position = (centre * float(scale) - 0.5).astype(np.float32)  # one rounding: a fused multiply-add
        position = np.clip(position, 0, source - 1)
        low = np.floor(position).astype(int)
        high = np.minimum(low + 1, source - 1)
        fraction = position - low.astype(np.float32)
        weight = np.zeros((target, source), np.float32)
        rows = np.arange(target)
        np.add.at(weight, (rows, low), 1 - fraction)
        np.add.at(weight, (rows, high), fraction)
    matrix: Array = weight.astype(np.float32)
    matrix.setflags(write=False)
    return matrix


@lru_cache(maxsize=64)
def bands(source: int, target: int, antialias: bool = False) -> tuple[Band, ...]:
    """The matrix of `bilinear_matrix` in blocks of about the same size: a BLAS sums differently where a block is a
    single row.
    """
    matrix = bilinear_matrix(source, target, antialias)
    most = ANTIALIASED_BLOCK if antialias else largest_block(source, target)
    count = -(-target // most)
    found = []
    for number in range(count):
        span = slice(target * number // count, target * (number + 1) // count)
        block = matrix[span]
        read = np.flatnonzero(block.any(0))
        source_span = slice(int(read[0]), int(read[-1]) + 1)
        found.append(Band(span, source_span, np.ascontiguousarray(block[:, source_span])))
    return tuple(found)


def largest_block(source: int, target: int) -> int:
    """Output pixels of a block, such that no product of `resize_part` on a square map has more than MOST_PRODUCTS."""
    block = BLOCK
    while block > 2 and max(block, source) * block * (block * source // target + 2) > MOST_PRODUCTS:
        block -= 1
    return block


def resize(maps: Array, height: int, width: int, antialias: bool = False) -> Array:
    """Resample (..., h, w) maps bilinearly to (..., height, width)."""
    return resize_part(maps, height, width, slice(0, height), slice(0, width), antialias)


def resize_part(maps: Array, height: int, width: int, rows: slice, columns: slice, antialias: bool = False) -> Array:
    """The pixels [..., rows, columns] of what `resize` gives, to the last bit, without computing the others.

    Args:
        maps: (..., h, w).
        rows, columns: start and stop in output pixels, both between blocks (see `reached`) or at the end of the axis.

    Raises:
        ValueError: they are not.
    """
    down = _within(bands(maps.shape[-2], height, antialias), rows)
    across = _within(bands(maps.shape[-1], width, antialias), columns)
    out = np.empty((*maps.shape[:-2], rows.stop - rows.start, columns.stop - columns.start), np.float32)
    maps = np.ascontiguousarray(maps, dtype=np.float32)
    # A BLAS rounds by the shapes it is given, so a block is computed by the same two products whatever is asked for.
    for column in across:
        wide = maps[..., column.source] @ column.weights.T
        for row in down:
            target = _moved(row.target, rows), _moved(column.target, columns)
            np.matmul(row.weights, wide[..., row.source, :], out=out[(..., *target)])
    return out


def reached(read: NDArray[np.bool_], target: int) -> slice:
    """The output pixels, in whole blocks along one axis, that bilinear resampling makes from source pixels `read`.

    Args:
        read: (source,), true where a source pixel matters.
        target: length of the output axis.
    """
    hit = [band.target for band in bands(len(read), target) if read[band.source].any()]
    return slice(hit[0].start, hit[-1].stop) if hit else slice(0, 0)


def _within(blocks: tuple[Band, ...], part: slice) -> list[Band]:
    """The blocks that make up `part`."""
    found = [band for band in blocks if part.start <= band.target.start and band.target.stop <= part.stop]
    covered = sum(band.target.stop - band.target.start for band in found)
    if covered != part.stop - part.start:
        raise ValueError(f"a part should be whole blocks, found pixels {part.start} to {part.stop}")
    return found


def _moved(target: slice, part: slice) -> slice:
    return slice(target.start - part.start, target.stop - part.start)
