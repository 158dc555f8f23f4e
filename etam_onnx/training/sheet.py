"""A contact sheet of clips: a row per clip, a column per frame, the outline of every object in a colour of its own."""

from collections.abc import Sequence

import cv2
import numpy as np

from .clips import Clip

COLOURS = ((255, 0, 0), (0, 200, 255), (255, 220, 0), (60, 255, 60), (255, 0, 255), (255, 140, 0))


def contact_sheet(clips: Sequence[Clip]) -> np.ndarray:
    """uint8 RGB picture of all clips, which have one size and length; the first object is outlined in red."""
    shapes = {clip.frames.shape for clip in clips}
    if len(shapes) != 1:
        raise ValueError(f"A contact sheet needs clips of one shape (T, S, S, 3), not {sorted(shapes)}.")
    return np.concatenate([np.concatenate(_outlined(clip), axis=1) for clip in clips])


def _outlined(clip: Clip) -> list[np.ndarray]:
    cells = []
    for time, frame in enumerate(clip.frames):
        cell = np.array(frame)
        for number in reversed(range(len(clip.masks))):  # the first on top
            mask = clip.masks[number, time].astype(np.uint8)
            outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(cell, outlines, -1, COLOURS[number % len(COLOURS)], 1)
        cells.append(cell)
    return cells
