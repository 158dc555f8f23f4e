"""Which object owns a pixel when several objects' masks claim it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..runtime.label_maps import LabelMap


class Ownership:
    """Label map of one frame to which objects are added with their scores; the highest score owns a pixel.

    Args:
        size_hw: height and width in pixels.
        threshold: score a pixel has to exceed to belong to any object (0 for logits).
    """

    def __init__(self, size_hw: tuple[int, int], threshold: float = 0.0) -> None:
        self.labels: LabelMap = np.zeros(size_hw, dtype=np.uint8)
        self._highest = np.full(size_hw, threshold, dtype=np.float32)

    def add(self, object_ids: Sequence[int], scores_nhw: Iterable[NDArray[np.float32]]) -> None:
        """Let objects claim pixels; `scores_nhw` (N, H, W) has one map per id. Ties stay with the earlier."""
        for object_id, scores_hw in zip(object_ids, scores_nhw, strict=True):
            wins = scores_hw > self._highest
            self.labels[wins], self._highest[wins] = object_id, scores_hw[wins]
