"""Cleaning a mask: holes and islands below an area go away (SAM's ``remove_small_regions``)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .holes import components

Mask = NDArray[np.bool_]


def without_small_regions(mask: Mask, area: int) -> Mask:
    """Fill holes, then drop islands, that are smaller than `area`.

    Args:
        mask: (H, W).
        area: in pixels of the mask; 8-connected regions of exactly this area stay.

    Returns:
        The cleaned mask; of a mask that has only small islands the largest one stays.
    """
    labels, areas = components(~mask)
    mask = mask | _small(areas, area)[labels]
    labels, areas = components(mask)
    small = _small(areas, area)
    if small[1:].all() and len(small) > 1:
        small[int(np.argmax(areas))] = False
    return mask & ~small[labels]


def _small(areas: NDArray[np.int64], area: int) -> Mask:
    """By label; label 0 is not a region."""
    small: Mask = areas < area
    small[0] = False
    return small
