"""What a tracker says about a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .overlap import suppress_overlaps
from .resize import resize
from .segmenter import Prediction


@dataclass(frozen=True, eq=False)
class FrameResult:
    """Parallel arrays, one row per object in the order of their first prompt; N = 0 without objects.

    frame: number of the frame, from 0.  ids: (N,) integers.  masks: (N, H, W) booleans at video size.  logits: (N,
    H, W) before thresholding at 0.  presence: (N,) logit of the object being visible.  lost: (N,) presence at or
    below 0.  iou: (N,) predicted IoU of the mask, 0..1.  boxes: (N, 4) as x0, y0, x1, y1 in pixels around the mask,
    x1 and y1 exclusive, zeros for an empty mask.
    """

    frame: int
    ids: NDArray[np.int64]
    masks: NDArray[np.bool_]
    logits: NDArray[np.float32]
    presence: NDArray[np.float32]
    lost: NDArray[np.bool_]
    iou: NDArray[np.float32]
    boxes: NDArray[np.int64]

    def __post_init__(self) -> None:
        n = len(self.ids)
        for name in ("masks", "logits", "presence", "lost", "iou", "boxes"):
            if len(getattr(self, name)) != n:
                raise ValueError(f"{name} has {len(getattr(self, name))} rows for {n} objects")

    def __len__(self) -> int:
        return len(self.ids)


def mask_boxes(masks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Boxes (N, 4) x0, y0, x1, y1 around (N, H, W) masks, x1 and y1 exclusive; zeros where a mask is empty."""
    boxes = np.zeros((len(masks), 4), np.int64)
    for row, mask in enumerate(masks):
        ys, xs = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
        if len(ys):
            boxes[row] = xs[0], ys[0], xs[-1] + 1, ys[-1] + 1
    return boxes


def frame_result(
    frame: int,
    predictions: Sequence[tuple[int, Prediction]],
    height: int,
    width: int,
    *,
    presence_threshold: float,
    overlap_limit: float | None,
) -> FrameResult:
    """Bring predictions (id, prediction) to video size; `overlap_limit` makes masks disjoint (None: they may
    overlap).
    """
    if predictions:
        logits = resize(np.stack([p.low_res for _, p in predictions]), height, width)
    else:
        logits = np.zeros((0, height, width), np.float32)
    if overlap_limit is not None:
        logits = suppress_overlaps(logits, overlap_limit)
    masks = logits > 0
    presence = np.asarray([p.presence for _, p in predictions], np.float32)
    return FrameResult(
        frame=frame,
        ids=np.asarray([obj_id for obj_id, _ in predictions], np.int64),
        masks=masks,
        logits=logits,
        presence=presence,
        lost=presence <= presence_threshold,
        iou=np.asarray([p.iou for _, p in predictions], np.float32),
        boxes=mask_boxes(masks),
    )
