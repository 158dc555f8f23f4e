"""What a tracker says about a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .foreground import foreground, mask_boxes
from .overlap import suppress_overlaps
from .resize import resize
from .segmenter import Prediction

__all__ = ["FrameResult", "frame_result", "mask_boxes"]


@dataclass(frozen=True, eq=False)
class FrameResult:
    """Parallel arrays, one row per object in the order of their first prompt; N = 0 without objects.

    frame: number of the frame, from 0.  ids: (N,) integers.  presence: (N,) logit of the object being visible.
    lost: (N,) presence at or below 0.  iou: (N,) predicted IoU of the mask, 0..1.  low_res: (N, h, w) logits as the
    model gives them, h and w a quarter of its input.  size: (height, width) of the frame in pixels.  overlap_limit:
    given, masks are disjoint.

    Computed when they are first asked for, and kept: masks: (N, H, W) booleans at video size.  logits: (N, H, W)
    before thresholding at 0.  boxes: (N, 4) as x0, y0, x1, y1 in pixels around the mask, x1 and y1 exclusive, zeros
    for an empty mask.
    """

    frame: int
    ids: NDArray[np.int64]
    presence: NDArray[np.float32]
    lost: NDArray[np.bool_]
    iou: NDArray[np.float32]
    low_res: NDArray[np.float32]
    size: tuple[int, int]
    overlap_limit: float | None = None

    def __post_init__(self) -> None:
        n = len(self.ids)
        for name in ("presence", "lost", "iou", "low_res"):
            if len(getattr(self, name)) != n:
                raise ValueError(f"{name} has {len(getattr(self, name))} rows for {n} objects")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def masks(self) -> NDArray[np.bool_]:
        """(N, H, W) booleans at video size: where the logits exceed 0."""
        return self._foreground[0]

    @property
    def boxes(self) -> NDArray[np.int64]:
        """(N, 4) as x0, y0, x1, y1 in pixels around the masks, x1 and y1 exclusive, zeros for an empty mask."""
        return self._foreground[1]

    @cached_property
    def logits(self) -> NDArray[np.float32]:
        """(N, H, W) at video size, before thresholding at 0."""
        logits = resize(self.low_res, *self.size)
        return logits if self.overlap_limit is None else suppress_overlaps(logits, self.overlap_limit)

    @cached_property
    def _foreground(self) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        return foreground(self.low_res, *self.size, self.overlap_limit)


def frame_result(
    frame: int,
    predictions: Sequence[tuple[int, Prediction]],
    height: int,
    width: int,
    *,
    presence_threshold: float,
    overlap_limit: float | None,
) -> FrameResult:
    """Predictions (id, prediction) of a frame of `height` by `width` pixels; `overlap_limit` makes masks disjoint
    (None: they may overlap).
    """
    presence = np.asarray([p.presence for _, p in predictions], np.float32)
    return FrameResult(
        frame=frame,
        ids=np.asarray([obj_id for obj_id, _ in predictions], np.int64),
        presence=presence,
        lost=presence <= presence_threshold,
        iou=np.asarray([p.iou for _, p in predictions], np.float32),
        low_res=np.stack([p.low_res for _, p in predictions]) if predictions else np.zeros((0, 1, 1), np.float32),
        size=(height, width),
        overlap_limit=overlap_limit,
    )
