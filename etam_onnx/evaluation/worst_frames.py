"""The frames on which a tracker does worst, kept with what it answered there so that they can be looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..runtime.run_lengths import CocoMask, coco_string, run_lengths

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class WorstFrame:
    """A frame by number, its mean J over objects in percent, and the predicted masks (H, W) by object id."""

    frame: int
    j: float
    masks: Mapping[int, Mask]

    def as_json(self) -> dict[str, Any]:
        """A form that JSON can hold, with masks as COCO's run lengths."""
        return {"frame": self.frame, "J": self.j, "masks": {str(n): segmentation(m) for n, m in self.masks.items()}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> WorstFrame:
        """The inverse of `as_json`."""
        masks = {int(number): CocoMask(entry).pixels() for number, entry in data["masks"].items()}
        return cls(int(data["frame"]), float(data["J"]), masks)


@dataclass
class WorstFrames:
    """The worst frame of each of `parts` equal stretches of a video; neighbours would look alike.

    Args:
        count: annotated frames of the video.
    """

    count: int
    parts: int = 3
    _kept: dict[int, WorstFrame] = field(default_factory=dict)

    def add(self, position: int, frame: int, j: float, masks: Mapping[int, Mask]) -> None:
        """Look at the annotated frame at `position`, of number `frame`."""
        part = position * self.parts // self.count
        if part not in self._kept or j < self._kept[part].j:
            self._kept[part] = WorstFrame(frame, j, masks)

    def result(self) -> list[WorstFrame]:
        """At most one frame per stretch, in order."""
        return [self._kept[part] for part in sorted(self._kept)]


def segmentation(mask: Mask) -> dict[str, Any]:
    """A mask (H, W) as COCO's compressed run lengths."""
    return {"size": list(mask.shape), "counts": coco_string(run_lengths(mask))}
