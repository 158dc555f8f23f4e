"""Masks at video size from low-resolution logits, computed only where there can be foreground.

Bilinear enlarging takes means with weights that are not negative, so a pixel all of whose sources are at or below 0
is at or below 0 itself: outside the blocks that positive logits reach, a mask is false without looking.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .overlap import suppress_overlaps
from .resize import reached, resize_part

Masks = NDArray[np.bool_]
Part = tuple[slice, slice]


def foreground_part(low_res: NDArray[np.float32], height: int, width: int) -> Part:
    """Rows and columns of the frame, as slices, outside which no mask is true; empty slices where none is anywhere.

    Args:
        low_res: (N, h, w) logits.
        height, width: of the frame in pixels.
    """
    positive = low_res > 0
    rows: Masks = np.logical_or.reduce(positive, axis=(0, 2))
    columns: Masks = np.logical_or.reduce(positive, axis=(0, 1))
    return reached(rows, height), reached(columns, width)


def foreground(
    low_res: NDArray[np.float32], height: int, width: int, overlap_limit: float | None = None
) -> tuple[Masks, NDArray[np.int64]]:
    """What ``resize(low_res, height, width) > 0`` is, and the boxes around it.

    Args:
        low_res: (N, h, w) logits.
        height, width: of the frame in pixels.
        overlap_limit: given, only the highest object of a pixel may be foreground, see `suppress_overlaps`.

    Returns:
        Masks (N, height, width), and boxes (N, 4) as x0, y0, x1, y1 in pixels, x1 and y1 exclusive, zeros where a
        mask is empty.
    """
    masks = np.zeros((len(low_res), height, width), np.bool_)
    boxes = np.zeros((len(low_res), 4), np.int64)
    if overlap_limit is not None and len(low_res) > 1:
        groups = [slice(0, len(low_res))]  # they are compared with each other, so all are needed at one place
    else:
        groups = [slice(row, row + 1) for row in range(len(low_res))]
    for group in groups:
        rows, columns = foreground_part(low_res[group], height, width)
        logits = resize_part(low_res[group], height, width, rows, columns)
        if overlap_limit is not None:
            logits = suppress_overlaps(logits, overlap_limit)
        found = logits > 0
        masks[group, rows, columns] = found
        boxes[group] = mask_boxes(found, columns.start, rows.start)
    return masks, boxes


def mask_boxes(masks: Masks, left: int = 0, top: int = 0) -> NDArray[np.int64]:
    """Boxes (N, 4) x0, y0, x1, y1 around (N, H, W) masks, x1 and y1 exclusive; zeros where a mask is empty.

    Args:
        left, top: where the masks' upper left pixel lies in the frame.
    """
    boxes = np.zeros((len(masks), 4), np.int64)
    for row, mask in enumerate(masks):
        ys = np.flatnonzero(mask.any(1))
        if len(ys):
            xs = np.flatnonzero(mask[ys[0] : ys[-1] + 1].any(0))
            boxes[row] = left + xs[0], top + ys[0], left + xs[-1] + 1, top + ys[-1] + 1
    return boxes
