"""Prompts made from an annotated mask: what a user who sees the truth would draw or click."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .depth import deepest_point

Mask = NDArray[np.bool_]
Prompt = Literal["mask", "box", "click", "clicks3", "clicks5"]
CLICKS: dict[Prompt, int] = {"click": 1, "clicks3": 3, "clicks5": 5}
PROMPTS: tuple[Prompt, ...] = ("mask", "box", "click", "clicks3", "clicks5")


class Click(NamedTuple):
    """A point in pixels of the frame and its label: 1 on the object, 0 off it."""

    x: float
    y: float
    label: int


def box_around(mask: Mask) -> tuple[float, float, float, float]:
    """Tight box x0, y0, x1, y1 in pixels from the mask's first to its last column and row, both included.

    Raises:
        ValueError: the mask (H, W) is empty.
    """
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if len(columns) == 0:
        raise ValueError("an empty mask has no box")
    return float(columns[0]), float(rows[0]), float(columns[-1]), float(rows[-1])


def click_inside(mask: Mask) -> tuple[float, float]:
    """The point (x, y) in pixels that lies deepest inside the mask.

    Raises:
        ValueError: the mask (H, W) is empty.
    """
    return deepest_point(mask)[0]


def corrective_click(prediction: Mask, truth: Mask, void: Mask | None = None) -> Click | None:
    """The click that a user would correct a prediction with, or None where nothing is wrong.

    It lies at the deepest point of what is missing or of what is too much, whichever is deeper, as in
    the interactive evaluations of RITM (Sofiiuk et al., 2021) and SAM 2; ties go to what is too much.

    Args:
        prediction, truth: boolean masks (H, W) of the frame.
        void: pixels (H, W) that belong to neither side and are never clicked.
    """
    missing, surplus = truth & ~prediction, prediction & ~truth
    if void is not None:
        missing, surplus = missing & ~void, surplus & ~void
    found = [(deepest_point(region), label) for region, label in ((surplus, 0), (missing, 1)) if region.any()]
    if not found:
        return None
    ((x, y), _), label = max(found, key=lambda entry: entry[0][1])
    return Click(x, y, label)
