"""A contact sheet of clips: a row per clip, a column per frame, the outline of the object drawn in."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from .clips import Clip


def contact_sheet(clips: Sequence[Clip]) -> np.ndarray:
    """uint8 RGB picture of all clips (same size and length), outlines in red."""
    rows = []
    for clip in clips:
        cells = []
        for frame, mask in zip(clip.frames, clip.masks, strict=True):
            cell = np.ascontiguousarray(frame)
            outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cells.append(cv2.drawContours(cell, outlines, -1, (255, 0, 0), 1))
        rows.append(np.concatenate(cells, axis=1))
    return np.concatenate(rows)


def write_contact_sheet(path: Path | str, clips: Sequence[Clip]) -> None:
    """Writes the contact sheet as PNG or whatever the suffix of `path` says."""
    Image.fromarray(contact_sheet(clips)).save(path)
