"""Boundary accuracy F: how well two outlines agree (Perazzi et al., DAVIS, CVPR 2016, section 4).

An outline pixel is a hit when an outline pixel of the other mask lies within a tolerance of
0.8 % of the image diagonal; F is the harmonic mean of the two hit rates.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

TOLERANCE_OF_DIAGONAL = 0.008


def boundary_accuracy(prediction: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """F-measure between the outlines of two masks of one object on one frame.

    Args:
        prediction: boolean mask (H, W), frame pixels.
        truth: boolean mask (H, W) of the same size.

    Returns:
        F in [0, 1]: 1 when neither mask has an outline, 0 when only one has.

    Raises:
        ValueError: the two masks differ in size.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"masks to compare differ in size: {prediction.shape} against {truth.shape}")
    radius = tolerance_radius(*truth.shape)
    predicted, expected = outline(prediction), outline(truth)
    n_predicted, n_expected = np.count_nonzero(predicted), np.count_nonzero(expected)
    if n_predicted == 0 or n_expected == 0:
        return float(n_predicted == n_expected)
    precision = _count_near(predicted, expected, radius) / n_predicted
    recall = _count_near(expected, predicted, radius) / n_expected
    if precision + recall == 0:
        return 0.0
    return 2 * precision * recall / (precision + recall)


def tolerance_radius(height: int, width: int) -> int:
    """Radius in pixels within which two outlines count as touching, for an image of this size."""
    return math.ceil(TOLERANCE_OF_DIAGONAL * math.hypot(height, width))


def outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """One-pixel outline (H, W) of a mask: pixels that differ from a neighbour to the right, below or between.

    The last row looks only to the right, the last column only below, the last pixel nowhere, so
    that an object cut by the image border has no outline along that border.
    """
    edges = np.zeros_like(mask)
    edges[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    edges[:-1, :] |= mask[:-1, :] != mask[1:, :]
    edges[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return edges


def _count_near(points: NDArray[np.bool_], others: NDArray[np.bool_], radius: int) -> int:
    """Number of set pixels of `points` within `radius` (Euclidean, inclusive) of a set pixel of `others`.

    A disk is a stack of horizontal runs. Running sums along the rows of `others` tell in two
    look-ups whether a run holds a set pixel, so only the pixels asked about are visited.
    """
    height, width = others.shape
    sums = np.zeros((height, width + 1), dtype=np.int32)
    np.cumsum(others, axis=1, dtype=np.int32, out=sums[:, 1:])
    ys, xs = np.nonzero(points)
    near = np.zeros(len(ys), dtype=np.bool_)
    for dy in range(-radius, radius + 1):
        half = math.isqrt(radius * radius - dy * dy)
        inside = (ys + dy >= 0) & (ys + dy < height)
        rows = (ys + dy).clip(0, height - 1)
        start, stop = (xs - half).clip(0), (xs + half + 1).clip(max=width)
        near |= inside & (sums[rows, stop] > sums[rows, start])
    return int(np.count_nonzero(near))
