"""The frames on which a tracker does worst, kept with what it answered there so that they can be looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
        return cls(int(data["frame"]), float(data["J"]), _Stored(data["masks"]))


class _Stored(Mapping[int, Mask]):
    """Masks by object id that stay run lengths until they are looked at: a run has more of them than fit memory."""

    def __init__(self, entries: Mapping[str, Any]) -> None:
        self._masks = {int(number): CocoMask(entry) for number, entry in entries.items()}

    def __getitem__(self, number: int) -> Mask:
        return self._masks[number].pixels()

    def __iter__(self) -> Iterator[int]:
        return iter(self._masks)

    def __len__(self) -> int:
        return len(self._masks)


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
