"""Which of many masks to keep: how stable a mask is, and which boxes say the same thing twice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def stability_score(logits: NDArray[np.float32], offset: float) -> float:
    """Area(logits > offset) / area(logits > -offset), 0 where the latter is empty.

    Source: SAM's ``calculate_stability_score``.

    Args:
        logits: (H, W) mask logits.
        offset: distance of the two thresholds from 0.
    """
    union = int(np.count_nonzero(logits > -offset))
    return int(np.count_nonzero(logits > offset)) / union if union else 0.0


def box_nms(boxes: NDArray[np.int64], scores: NDArray[np.float32], threshold: float) -> list[int]:
    """Non-maximum suppression: of boxes that overlap more than `threshold` the one with the highest score stays.

    Args:
        boxes: (N, 4) as x0, y0, x1, y1; the area is (x1 - x0) (y1 - y0).
        scores: (N,); of equal ones the first wins.
        threshold: largest intersection over union of two boxes that are both kept.

    Returns:
        Indices of the boxes that stay, by falling score.
    """
    order = np.argsort(-scores, kind="stable")
    x0, y0, x1, y1 = boxes[order].astype(np.float64).T
    area = (x1 - x0) * (y1 - y0)
    alive = np.ones(len(order), bool)
    kept: list[int] = []
    for i, index in enumerate(order):
        if not alive[i]:
            continue
        kept.append(int(index))
        width = np.minimum(x1, x1[i]) - np.maximum(x0, x0[i])
        height = np.minimum(y1, y1[i]) - np.maximum(y0, y0[i])
        shared = np.clip(width, 0, None) * np.clip(height, 0, None)
        alive &= shared <= threshold * (area + area[i] - shared)
    return kept
