"""A frame squeezed to a square as Pillow's bicubic filter does it, to the last bit, in less than half the time.

Pillow filters along the rows, rounds to uint8, then filters along the columns.  (From Pillow 13 on a picture that loses
more height than width is filtered along the columns first, which gives other values.  Here the order is always that of
the earlier versions, with which the models were trained and published.)  `bicubic` makes products of matrices of it,
whose sums round to Pillow's values unless they lie within a known bound of a half; those few are computed again in
integers.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from PIL import Image

from .bicubic import BITS, Array, Axis, axis, interleaved

Pixels = NDArray[np.uint8]

TILE = 16, 4  # of a result, in the order of memory, that matrix products compute at once on wide vector registers
STRIP = 60  # rows that are worked on at a time, so that they stay in the cache
MOST_PRODUCTS = 200_000  # of one matrix product: above 262,144 OpenBLAS wakes threads, for more than they save
MOST_DOUBTS = 1 / 32  # of the values; with more, such as patterns made of halves, Pillow itself is faster
STRONGEST = 16  # reduction; beyond it Pillow itself takes less memory

_kept = threading.local()


def squeezed(frame: Pixels, size: int) -> Array:
    """``Image.fromarray(frame).resize((size, size), Image.Resampling.BICUBIC)``, filtered along the rows first.

    Args:
        frame: (H, W, 3) RGB.
        size: of the square in pixels.

    Returns:
        (1, 3, size, size) RGB 0..255.
    """
    height, width, _ = frame.shape
    square = None
    if max(height, width) <= STRONGEST * size:
        kept: Squeeze | None = getattr(_kept, "squeeze", None)
        if kept is None or kept.shape != (height, width, size):
            kept = _kept.squeeze = Squeeze(height, width, size)
        square = kept(frame)
    if square is None:
        narrow = Image.fromarray(frame).resize((size, height), Image.Resampling.BICUBIC)
        resized = narrow.resize((size, size), Image.Resampling.BICUBIC)
        square = np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1), dtype=np.float32)
    return square[None]


class Squeeze:
    """Squeezes frames of one size, one at a time, in arrays that it keeps: fresh ones would cost as much as the work.

    shape: (height, width, size) in pixels.
    """

    def __init__(self, height: int, width: int, size: int) -> None:
        self.shape = height, width, size
        self._rows, self._columns = axis(height, size, 1, TILE[1]), axis(width, size, 3, TILE[0])
        rows, columns = self._rows, self._columns
        self._weights = interleaved(columns)
        blocks, reach, block = self._weights.shape
        strip = max(1, min(STRIP, MOST_PRODUCTS // (reach * block)))
        values = blocks * block
        self._strip = np.zeros((strip, 3 * columns.length), np.float32)
        self._strip_sums = np.empty((strip, values), np.float32)
        self._narrow = np.zeros((rows.length, values), np.float32)
        self._group = max(1, STRIP // rows.block)
        self._sums = np.empty((self._group, rows.block, values), np.float32)
        self._rounded = np.empty((self._group * rows.block, values), np.float32)
        self._doubtful = np.empty((max(height, size), values), np.bool_)

    def __call__(self, frame: Pixels) -> Array | None:
        """(3, size, size) of a frame (height, width, 3); None if the rounding of too many values is in doubt."""
        return self._lowered() if self._narrowed(frame) else None

    def _narrowed(self, frame: Pixels) -> bool:
        """Filter along the rows into `_narrow`, which has zeros around what counts; false if too much is in doubt."""
        rows, columns = self._rows, self._columns
        flat = np.ascontiguousarray(frame).reshape(rows.source, -1)
        blocks, reach, block = self._weights.shape
        strip, sums, item = self._strip, self._strip_sums, self._strip.itemsize
        shape, strides = (blocks, len(strip), reach), (3 * columns.step * item, strip.strides[0], item)
        windows = as_strided(strip, shape, strides, writeable=False)
        found = sums.reshape(-1, blocks, block).transpose(1, 0, 2)
        inside = self._narrow[rows.before : rows.before + rows.source]
        doubtful = self._doubtful[: rows.source]
        read = slice(3 * columns.before, 3 * columns.before + flat.shape[1])
        for top in range(0, rows.source, len(strip)):
            bottom = min(top + len(strip), rows.source)
            part = slice(0, bottom - top)
            strip[part, read] = flat[top:bottom]
            np.matmul(windows[:, part], self._weights, out=found[:, part])
            _round(sums[part], inside[top:bottom], doubtful[top:bottom], columns)
        found_at = np.flatnonzero(doubtful)
        if len(found_at) > MOST_DOUBTS * doubtful.size:
            return False
        row, value = np.divmod(found_at, inside.shape[1])
        pixel, channel = np.divmod(value, 3)
        values = flat[row[:, None], 3 * columns.read(pixel) + channel[:, None]]
        inside[row, value] = _exact(values, columns.taps[pixel])
        return True

    def _lowered(self) -> Array | None:
        """`_narrow` filtered along the columns: (3, size, size)."""
        rows, narrow, sums = self._rows, self._narrow, self._sums
        target, values = rows.target, narrow.shape[1]
        pieces = -(-rows.block * rows.reach * values // MOST_PRODUCTS)
        square = np.empty((3, target, target), np.float32)
        doubtful = self._doubtful[:target]
        item = narrow.itemsize
        for first in range(0, rows.blocks, self._group):
            weights = rows.weights[first : first + self._group].transpose(0, 2, 1)
            blocks = len(weights)
            for piece in range(pieces):
                part = slice(values * piece // pieces, values * (piece + 1) // pieces)
                shape = blocks, rows.reach, part.stop - part.start
                strides = rows.step * values * item, values * item, item
                windows = as_strided(narrow[first * rows.step :, part], shape, strides, writeable=False)
                np.matmul(weights, windows, out=sums[:blocks, :, part])
            top, bottom = first * rows.block, min((first + blocks) * rows.block, target)
            rounded = self._rounded[: bottom - top]
            _round(sums.reshape(-1, values)[: bottom - top], rounded, doubtful[top:bottom], rows)
            square[:, top:bottom] = rounded[:, : 3 * target].reshape(-1, target, 3).transpose(2, 0, 1)
        found_at = np.flatnonzero(doubtful)
        if len(found_at) > MOST_DOUBTS * doubtful.size:
            return None
        pixel, value = np.divmod(found_at, values)
        exact = _exact(narrow[rows.read(pixel) + rows.before, value[:, None]], rows.taps[pixel])
        square[value % 3, pixel, value // 3] = exact
        return square


def _round(sums: Array, rounded: Array, doubtful: NDArray[np.bool_], along: Axis) -> None:
    """Fill `rounded` with whole values 0..255, and `doubtful` where they may be wrong; `sums` are used up."""
    np.rint(sums, out=rounded)
    np.subtract(sums, rounded, out=sums)
    np.abs(sums, out=sums)
    np.greater_equal(sums, np.float32(0.5 - along.doubt), out=doubtful)
    np.clip(rounded, 0, 255, out=rounded)


def _exact(pixels: NDArray[np.generic], weights: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pillow's sums (n,) of pixels (n, taps) with weights (n, taps)."""
    sums = (pixels.astype(np.int64) * weights).sum(1) + 2 ** (BITS - 1)
    whole: NDArray[np.int64] = np.clip(sums >> BITS, 0, 255)
    return whole
