"""How much the masks of one variant of a bundle differ from those of another, on a video and prompts of one's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .evaluation.region import region_similarity
from .graphs.bundle import Bundle
from .graphs.variants import COREML, system_of
from .runtime.networks import Networks
from .verification import INTERPRETED, device_of

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Overlap:
    """One object on one frame: intersection over union of two masks, 1 where both are empty.

    alone: whether only one of them shows the object at all.
    """

    frame: int
    obj_id: int
    iou: float
    alone: bool

    @classmethod
    def of(cls, frame: int, obj_id: int, found: Mask, reference: Mask) -> Overlap:
        """Compare boolean masks (H, W)."""
        return cls(frame, obj_id, region_similarity(found, reference), bool(found.any() != reference.any()))


@dataclass
class Comparison:
    """All overlaps of one variant with the reference, in the order of tracking."""

    variant: str
    overlaps: list[Overlap] = field(default_factory=list)

    @property
    def mean(self) -> float:
        """Over frames and objects."""
        return float(np.mean([overlap.iou for overlap in self.overlaps]))

    @property
    def worst(self) -> Overlap:
        """The lowest, the first of several."""
        return min(self.overlaps, key=lambda overlap: overlap.iou)

    @property
    def alone(self) -> int:
        """On how many frames an object is seen by one of the two only."""
        return sum(overlap.alone for overlap in self.overlaps)

    def by_frame(self) -> dict[int, float]:
        """The worst IoU of each frame."""
        lowest: dict[int, float] = {}
        for overlap in self.overlaps:
            lowest[overlap.frame] = min(overlap.iou, lowest.get(overlap.frame, 1.0))
        return lowest

    def add(self, frame: int, found: Mapping[int, Mask], reference: Mapping[int, Mask]) -> None:
        """Compare the masks of a frame, by object."""
        self.overlaps += [Overlap.of(frame, number, found[number], mask) for number, mask in reference.items()]


def open_variant(bundle: Bundle, variant: str, device: str = "cpu") -> Networks:
    """The graphs of a variant: on `device`, or interpreted if they are Core ML packages and it is not Core ML.

    Raises:
        BundleError: the bundle has no such variant, or the device does not run it.
        DeviceError: the device is not to be had.
        ImportError: the interpreter's extra is not installed.
    """
    backend = device_of(INTERPRETED if system_of(variant) and device != COREML else device)
    return Networks.open(bundle, device, backend=backend, variant=variant)


def compare(
    frames: Iterable[tuple[int, Sequence[Mapping[int, Mask]]]], variants: Sequence[str]
) -> tuple[Comparison, ...]:
    """Compare masks of the same frames.

    Args:
        frames: for each frame its number and masks by object, first the reference's, then those of each variant.
        variants: their names.
    """
    comparisons = tuple(Comparison(variant) for variant in variants)
    for number, (reference, *others) in frames:
        for comparison, found in zip(comparisons, others, strict=True):
            comparison.add(number, found, reference)
    return comparisons
