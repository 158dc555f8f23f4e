"""An annotated video: its frames on disk and the masks of all or some of them, read when they are needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..runtime.frames import FrameFolder
from ..runtime.label_maps import LabelMap, object_ids, read_label_map

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Annotation:
    """The truth about one frame.

    Attributes:
        masks: object id -> mask (H, W) of the objects that are visible.
        void: pixels (H, W) that are left out.
        about: the objects whose presence or absence is annotated; None: all.
    """

    masks: Mapping[int, Mask]
    void: Mask | None = None
    about: frozenset[int] | None = None

    def only(self, object_id: int) -> Annotation | None:
        """What it says about one object; None if it says nothing about it."""
        if self.about is not None and object_id not in self.about:
            return None
        masks = {number: mask for number, mask in self.masks.items() if number == object_id}
        return Annotation(masks, self.void, self.about and frozenset({object_id}))


def annotation_of(labels: LabelMap, void: int | None = None, no_object: int | None = None) -> Annotation:
    """The annotation that a label map (H, W) holds; pixels of the label `void` are left out, those of `no_object`
    are background.
    """
    masks = {object_id: labels == object_id for object_id in object_ids(labels) if object_id != no_object}
    return Annotation(masks, None if void is None else masks.pop(void, None))


@dataclass(frozen=True)
class LabelMaps:
    """All objects of a frame in one picture.  paths: frame number -> palette PNG.  no_object: label of background
    beside 0.
    """

    paths: Mapping[int, Path]
    no_object: int | None = None

    def frames(self) -> list[int]:
        """Numbers of the annotated frames, ascending."""
        return sorted(self.paths)

    def read(self, frame: int, size_hw: tuple[int, int]) -> Annotation:
        """The annotation of a frame; ValueError unless it is as large as the frames."""
        labels = read_label_map(self.paths[frame])
        _check_size(self.paths[frame], labels, size_hw)
        return annotation_of(labels, no_object=self.no_object)

    def files(self) -> list[Path]:
        """The pictures."""
        return list(self.paths.values())


@dataclass(frozen=True)
class ObjectFolders:
    """A picture per object and frame, non-zero inside, so that masks may overlap.

    paths: object id -> frame number -> PNG; a missing picture says nothing about the object.
    """

    paths: Mapping[int, Mapping[int, Path]]

    def frames(self) -> list[int]:
        """Numbers of the annotated frames, ascending."""
        return sorted({frame for by_frame in self.paths.values() for frame in by_frame})

    def read(self, frame: int, size_hw: tuple[int, int]) -> Annotation:
        """The annotation of a frame; ValueError unless it is as large as the frames."""
        masks = {}
        about = frozenset(object_id for object_id, by_frame in self.paths.items() if frame in by_frame)
        for object_id, by_frame in self.paths.items():
            if object_id in about:
                labels = read_label_map(by_frame[frame])
                _check_size(by_frame[frame], labels, size_hw)
                if labels.any():
                    masks[object_id] = labels > 0
        return Annotation(masks, about=about)

    def files(self) -> list[Path]:
        """The pictures."""
        return [path for by_frame in self.paths.values() for path in by_frame.values()]


@dataclass(frozen=True)
class AnnotatedSequence:
    """Frames of a video and the masks of all or some of them.

    Attributes:
        name: the sequence's folder name.
        image_folder: where its frames lie.
        frame_names: names of the frames without suffix, in order; their positions are the frame numbers.
        truth: the annotations.
        until: object id -> the frame from which on it no longer counts, where a benchmark says so.
        categories: object id -> its category, where a benchmark says so.
    """

    name: str
    image_folder: Path
    frame_names: tuple[str, ...]
    truth: LabelMaps | ObjectFolders
    until: Mapping[int, int] = field(default_factory=dict)
    categories: Mapping[int, str] = field(default_factory=dict)

    @cached_property
    def frames(self) -> FrameFolder:
        """The video; opening it checks that all its frames have one size."""
        return FrameFolder(self.image_folder)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of frames and masks in pixels."""
        width, height = self.frames.size
        return height, width

    @property
    def overlapping(self) -> bool:
        """Whether a pixel may belong to several objects."""
        return isinstance(self.truth, ObjectFolders)

    @cached_property
    def annotated_frames(self) -> list[int]:
        """Numbers of the annotated frames, ascending."""
        return self.truth.frames()

    def files(self) -> list[Path]:
        """What its result depends on: frames and masks."""
        return [*self.image_folder.iterdir(), *self.truth.files()]

    def annotation(self, frame: int) -> Annotation:
        """The truth about an annotated frame.

        Raises:
            ValueError: a mask is not as large as the frames, or is no mask.
        """
        try:
            return self.truth.read(frame, self.size_hw)
        except ValueError as error:
            raise ValueError(f"sequence {self.name}: {error}") from error

    def first_masks(self) -> dict[int, dict[int, Mask]]:
        """Frame number -> object id -> mask (H, W), for the first annotated frame that shows each object.

        Raises:
            ValueError: a mask is not as large as the frames, or no object is annotated at all.
        """
        first: dict[int, dict[int, Mask]] = {}
        seen: set[int] = set()
        for frame in self.annotated_frames:
            masks = self.annotation(frame).masks
            new = {object_id: mask for object_id, mask in masks.items() if object_id not in seen}
            if new:
                first[frame] = new
                seen.update(new)
        if not first:
            raise ValueError(f"sequence {self.name}: no object is annotated on any frame")
        return first


def _check_size(path: Path, labels: LabelMap, size_hw: tuple[int, int]) -> None:
    if labels.shape != size_hw:
        found = f"{labels.shape[1]}x{labels.shape[0]}"
        raise ValueError(f"mask {path.name} is {found} pixels, the frames {size_hw[1]}x{size_hw[0]}")
