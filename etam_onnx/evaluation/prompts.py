"""Prompts made from an annotated mask, so that one annotation can start a tracker in three ways."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def box_around(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Tight box x0, y0, x1, y1 in pixels from the mask's first to its last column and row, both included.

    Raises:
        ValueError: the mask (H, W) is empty.
    """
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if len(columns) == 0:
        raise ValueError("an empty mask has no box")
    return float(columns[0]), float(rows[0]), float(columns[-1]), float(rows[-1])


def click_inside(mask: NDArray[np.bool_]) -> tuple[float, float]:
    """A point (x, y) in pixels as deep inside the mask as possible: the centre of its largest square.

    Of several largest squares the one nearest to the mean of their centres is taken.

    Raises:
        ValueError: the mask (H, W) is empty.
    """
    if not mask.any():
        raise ValueError("an empty mask has no inside to click on")
    sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), dtype=np.int64)
    sums[1:, 1:] = mask.cumsum(axis=0).cumsum(axis=1)
    fits, too_large = 0, (min(mask.shape) + 1) // 2
    while too_large - fits > 1:
        half = (fits + too_large) // 2
        if len(_square_centres(sums, half)):
            fits = half
        else:
            too_large = half
    centres_yx = _square_centres(sums, fits)
    offsets = centres_yx - centres_yx.mean(axis=0)
    y, x = centres_yx[np.argmin((offsets**2).sum(axis=1))]
    return float(x), float(y)


def _square_centres(sums: NDArray[np.int64], half: int) -> NDArray[np.intp]:
    """Centres (n, 2) as (y, x) of all squares of side 2 * half + 1 that the mask fills.

    `sums` (H + 1, W + 1) holds the number of mask pixels above and to the left of each corner.
    """
    side = 2 * half + 1
    filled = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return np.argwhere(filled == side * side) + half
