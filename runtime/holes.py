"""Hole filling: small background components of a mask become foreground (SAM 2's ``fill_holes_in_mask_scores``)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """8-connected components of a (H, W) mask.

    Returns:
        Labels (H, W), 0 outside and 1..n inside, and the area in pixels of each label, index 0 for label 0.
    """
    height, width = mask.shape
    edge = np.zeros((height, 1), np.int8)
    change = np.diff(np.concatenate((edge, mask.astype(np.int8), edge), 1), axis=1)
    row, start = np.nonzero(change == 1)
    end = np.nonzero(change == -1)[1]
    first = np.searchsorted(row, np.arange(height + 1))
    parent = list(range(len(row)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for y in range(1, height):
        above, here = first[y - 1], first[y]
        while above < first[y] and here < first[y + 1]:
            if start[here] <= end[above] and start[above] <= end[here]:  # touching also at corners
                a, b = root(above), root(here)
                parent[max(a, b)] = min(a, b)
            if end[above] < end[here]:
                above += 1
            else:
                here += 1
    roots = np.array([root(i) for i in range(len(row))], np.int64)
    run_label = np.unique(roots, return_inverse=True)[1].reshape(-1) + 1
    length = end - start
    labels = np.zeros((height, width), np.int64)
    labels[mask] = np.repeat(run_label, length)
    areas = np.bincount(run_label, weights=length, minlength=1).astype(np.int64)
    return labels, areas


def fill_holes(logits: NDArray[np.float32], area: int, value: float) -> NDArray[np.float32]:
    """Raise background components of at most `area` pixels to `value`.

    Args:
        logits: (h, w) mask logits, background where <= 0.
        area: largest hole in pixels of these logits; 0 changes nothing.
    """
    if area <= 0:
        return logits
    labels, areas = components(logits <= 0)
    small = areas <= area
    small[0] = False
    return np.where(small[labels], np.float32(value), logits)
