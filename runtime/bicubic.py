"""One axis of Pillow's bicubic resizing of uint8 pictures, as products of small float32 matrices.

Pillow (`Resample.c`, BICUBIC with a = -0.5) has weights that are integers in units of 2**-22, and rounds the weighted
sums of pixels to uint8.  The same sums in float32 differ from those by at most a bound that is known (`Axis.doubt`).

Each output pixel reads a few source pixels beside each other.  A window of `step` source pixels per `block` output
pixels slides along the axis, so that all blocks are one product of a stack of overlapping views.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

BITS = 22  # of Pillow's weights for 8-bit pictures
LARGEST_BLOCK = 20


@dataclass(frozen=True, eq=False)
class Axis:
    """Resizing along one axis, from `source` to `target` pixels.

    first: (target,) the first source pixel each output pixel reads.  taps: (target, n) weights in units of 2**-BITS.
    block, step: see above.  reach: source pixels that a block reads.  before: zeros in front of the source pixels,
    which make room for the first window.  length: of the source pixels with the zeros on both sides.  weights: (blocks,
    reach, block).  doubt: how near a half a float32 sum may come before its rounding is uncertain.
    """

    source: int
    target: int
    first: NDArray[np.int64]
    taps: NDArray[np.int64]
    block: int
    step: int
    reach: int
    before: int
    length: int
    weights: Array
    doubt: float

    @property
    def blocks(self) -> int:
        """Number of blocks; the last one may reach beyond the target."""
        return len(self.weights)

    def read(self, pixels: NDArray[np.int64]) -> NDArray[np.int64]:
        """The source pixels (n, taps) that output pixels (n,) read; those behind the last weight are repeated."""
        behind = np.arange(self.taps.shape[1])
        sources: NDArray[np.int64] = np.minimum(self.first[pixels, None] + behind, self.source - 1)
        return sources


def cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The bicubic kernel with a = -0.5, in Pillow's order of operations."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * -0.5
    weight: NDArray[np.float64] = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    return weight


def taps(source: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First source pixel (target,) and integer weights (target, n), with zeros behind an output pixel's last one."""
    scale = source / target
    stretch = max(scale, 1.0)
    support = 2.0 * stretch
    centre = (np.arange(target) + 0.5) * scale
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + support + 0.5).astype(np.int64), source)
    position = np.arange(int((last - first).max()))
    weight = cubic((position + first[:, None] - centre[:, None] + 0.5) * (1.0 / stretch))
    weight[position >= (last - first)[:, None]] = 0
    weight /= np.cumsum(weight, axis=1)[:, -1:]  # summed one by one, as Pillow does
    return first, np.trunc(weight * 2**BITS + np.copysign(0.5, weight)).astype(np.int64)


@lru_cache(maxsize=32)
def axis(source: int, target: int, channels: int, tile: int) -> Axis:
    """The axis with the blocks that are estimated to cost least, where a product makes `channels` values per output
    pixel of the block and `tile` values cost as much as one.
    """
    first, weight = taps(source, target)
    last = first + np.count_nonzero(np.cumsum(np.abs(weight[:, ::-1]), axis=1), axis=1)

    def windows(block: int) -> tuple[int, int, int]:
        """step, where the first window begins, reach."""
        step = round(block * source / target)
        moved = np.arange(target) // block * step
        begin = int((first - moved).min())
        return step, begin, int((last - moved).max()) - begin

    def cost(block: int) -> int:
        return -(-target // block) * windows(block)[2] * -(-channels * block // tile)

    block = min(range(2, LARGEST_BLOCK + 1), key=cost)
    step, begin, reach = windows(block)
    blocks = -(-target // block)
    weights = np.zeros((blocks, reach, block), np.float32)
    output = np.arange(target)
    place = first - output // block * step - begin
    for tap in range(weight.shape[1]):
        inside = place + tap < reach
        weights[(output // block)[inside], (place + tap)[inside], (output % block)[inside]] = (
            weight[inside, tap] / 2**BITS
        )
    before = -begin
    length = max(before + source, (blocks - 1) * step + reach)
    largest = 255 * float(np.abs(weight).sum(1).max()) / 2**BITS
    doubt = 1.01 * (weight.shape[1] + 1) * 2.0**-24 * largest
    return Axis(source, target, first, weight, block, step, reach, before, length, weights, doubt)


@lru_cache(maxsize=8)
def interleaved(columns: Axis) -> Array:
    """Weights (blocks, 3 reach, 3 block) for rows of red, green, blue, red, ..."""
    weights = np.zeros((columns.blocks, columns.reach, 3, columns.block, 3), np.float32)
    for channel in range(3):
        weights[:, :, channel, :, channel] = columns.weights
    return weights.reshape(columns.blocks, 3 * columns.reach, 3 * columns.block)
