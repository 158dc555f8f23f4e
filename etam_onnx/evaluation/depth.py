"""How deep inside a mask a pixel lies: the Euclidean distance transform, exact and in numpy alone."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def depth_inside(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distance (H, W) in pixels from each pixel of a mask to the nearest pixel outside, 0 outside.

    What lies beyond the image counts as outside, as in the click simulation of RITM and SAM 2.

    Args:
        mask: boolean (H, W).
    """
    depth = np.zeros(mask.shape)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return depth
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    # Everything around the window is outside, and a rim of one pixel stands for it.
    squared = _squared_within_columns(np.pad(mask[window], 1))
    _spread_along_rows(squared)
    depth[window] = np.sqrt(squared[1:-1, 1:-1])
    return depth


def deepest_point(mask: NDArray[np.bool_]) -> tuple[tuple[float, float], float]:
    """The point (x, y) in pixels that lies deepest inside a mask, and how deep.

    Of several equally deep points the one nearest to their mean is taken.

    Raises:
        ValueError: the mask (H, W) is empty.
    """
    if not mask.any():
        raise ValueError("an empty mask has no inside to click on")
    depth = depth_inside(mask)
    deepest = float(depth.max())
    points_yx = np.argwhere(depth == deepest)
    y, x = points_yx[np.argmin(((points_yx - points_yx.mean(axis=0)) ** 2).sum(axis=1))]
    return (float(x), float(y)), deepest


def _squared_within_columns(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Squared distance (H, W) to the nearest pixel outside in the same column."""
    height = len(mask)
    distance = np.zeros(mask.shape, np.int64)
    for order in (range(1, height), range(height - 2, -1, -1)):
        step = order.step
        counted = np.zeros(mask.shape, np.int64)
        for row in order:
            counted[row] = np.where(mask[row], counted[row - step] + 1, 0)
        distance = np.minimum(distance, counted) if step < 0 else counted
    return distance**2


def _spread_along_rows(squared: NDArray[np.int64]) -> None:
    """Turn distances within columns into distances in the plane, in place.

    The squared distance is the least of `dx ** 2` plus the column distance `dx` away; a step larger than
    the largest distance found so far cannot improve any pixel.
    """
    columns = squared.copy()
    dx = 1
    while dx < columns.shape[1] and dx <= math.isqrt(int(squared.max())):
        np.minimum(squared[:, dx:], columns[:, :-dx] + dx * dx, out=squared[:, dx:])
        np.minimum(squared[:, :-dx], columns[:, dx:] + dx * dx, out=squared[:, :-dx])
        dx += 1
