"""Where annotated sequences and predictions lie on disk.

Three layouts are read: `<sequence>/images` beside `<sequence>/masks`, the folders of DAVIS
(`JPEGImages/480p/<sequence>`, `Annotations/480p/<sequence>`), and, for masks alone, `<sequence>/NNNNN.png`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..runtime.frames import FrameFolder, natural_key
from .label_maps import LabelMap, object_ids, read_label_map

DAVIS_RESOLUTION = "480p"

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class AnnotatedSequence:
    """Frames of a video and the masks of all or some of them, in order.

    Attributes:
        name: the sequence's folder name.
        frames: the video, from a folder of pictures.
        masks: frame number -> palette PNG.
    """

    name: str
    frames: FrameFolder
    masks: Mapping[int, Path]

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of frames and masks in pixels."""
        width, height = self.frames.size
        return height, width

    def first_masks(self) -> dict[int, dict[int, NDArray[np.bool_]]]:
        """Frame number -> object id -> mask (H, W), for the first annotated frame that shows each object.

        Raises:
            ValueError: a mask is not as large as the frames.
        """
        first: dict[int, dict[int, NDArray[np.bool_]]] = {}
        seen: set[int] = set()
        for frame, path in self.masks.items():
            labels = read_label_map(path)
            if labels.shape != self.size_hw:
                raise ValueError(
                    f"sequence {self.name}: mask {path.name} is {_size(labels.shape)} pixels, "
                    f"the frames {_size(self.size_hw)}"
                )
            new = [object_id for object_id in object_ids(labels) if object_id not in seen]
            if new:
                first[frame] = {object_id: labels == object_id for object_id in new}
                seen.update(new)
        return first


def find_annotated_sequences(root: Path, names: list[str] | None = None) -> list[AnnotatedSequence]:
    """Sequences with frames and masks under a folder, sorted by name; `names` picks some of them.

    Raises:
        FileNotFoundError: the folder or a named sequence is missing, or nothing was found.
        ValueError: a mask has no frame of the same name.
    """
    _require_folder(root)
    if (root / "JPEGImages").is_dir():
        pairs = {
            folder.name: (folder, root / "Annotations" / DAVIS_RESOLUTION / folder.name)
            for folder in sorted((root / "JPEGImages" / DAVIS_RESOLUTION).glob("*/"))
        }
    else:
        pairs = {folder.parent.name: (folder, folder.parent / "masks") for folder in sorted(root.glob("*/images"))}
    found = {name: _annotated(name, *folders) for name, folders in _chosen(pairs, names, root).items()}
    if not found:
        raise FileNotFoundError(
            f"{root} holds no sequence: expected <sequence>/images and <sequence>/masks, or DAVIS's folders"
        )
    return list(found.values())


def find_mask_folders(root: Path, names: list[str] | None = None) -> dict[str, Path]:
    """Sequence name -> folder of its masks, from `<sequence>/masks/*.png` or `<sequence>/*.png`.

    Raises:
        FileNotFoundError: the folder or a named sequence is missing, or nothing was found.
    """
    _require_folder(root)
    folders = {}
    for sequence in sorted(root.glob("*/")):
        folder = sequence / "masks" if (sequence / "masks").is_dir() else sequence
        if any(folder.glob("*.png")):
            folders[sequence.name] = folder
    if not folders:
        raise FileNotFoundError(f"{root} holds no masks: expected <sequence>/NNNNN.png or <sequence>/masks/NNNNN.png")
    return _chosen(folders, names, root)


def read_mask_pairs(name: str, predictions: Path, annotations: Path) -> Iterator[tuple[LabelMap, LabelMap]]:
    """(prediction, annotation) label maps (H, W) of one sequence, one pair per annotated frame.

    Raises:
        FileNotFoundError: an annotated frame has no prediction.
        ValueError: a prediction is not as large as its annotation.
    """
    for path in sorted(annotations.glob("*.png"), key=lambda path: natural_key(path.name)):
        predicted = predictions / path.name
        if not predicted.is_file():
            raise FileNotFoundError(f"sequence {name}: there is no prediction for frame {path.stem} ({predicted})")
        prediction, truth = read_label_map(predicted), read_label_map(path)
        if prediction.shape != truth.shape:
            raise ValueError(
                f"sequence {name}, frame {path.stem}: the prediction is {_size(prediction.shape)} pixels, "
                f"the annotation {_size(truth.shape)}"
            )
        yield prediction, truth


def _annotated(name: str, image_folder: Path, mask_folder: Path) -> AnnotatedSequence:
    frames = FrameFolder(image_folder)
    number_of = {path.stem: number for number, path in enumerate(frames.paths)}
    paths = sorted(mask_folder.glob("*.png"))
    for path in paths:
        if path.stem not in number_of:
            raise ValueError(f"sequence {name}: mask {path.name} has no frame of that name in {image_folder}")
    if not paths:
        raise FileNotFoundError(f"sequence {name} has no masks in {mask_folder}")
    masks = {number_of[path.stem]: path for path in paths}
    return AnnotatedSequence(name, frames, dict(sorted(masks.items())))


def _chosen(found: dict[str, Entry], names: list[str] | None, root: Path) -> dict[str, Entry]:
    """The named entries in the order asked for, or all."""
    if names is None:
        return found
    for name in names:
        if name not in found:
            raise FileNotFoundError(f"sequence {name} is not in {root}")
    return {name: found[name] for name in names}


def _require_folder(root: Path) -> None:
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder")


def _size(shape_hw: tuple[int, ...]) -> str:
    return f"{shape_hw[1]}x{shape_hw[0]}"
