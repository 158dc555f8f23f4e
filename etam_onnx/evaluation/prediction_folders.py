"""Predicted masks on disk beside their annotations: a folder of palette PNG files per sequence, or per object of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..runtime.frames import natural_key
from ..runtime.label_maps import LabelMap, read_label_map
from .conventions import CONVENTIONS
from .scores import Score, SequenceScorer
from .sequences import Annotation


def find_mask_folders(root: Path, names: list[str] | None = None) -> dict[str, Path]:
    """Sequence name -> folder of its masks, from `<sequence>/masks/*.png` or `<sequence>/*.png`.

    Raises:
        FileNotFoundError: the folder or a named sequence is missing, or nothing was found.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder")
    folders = {}
    for sequence in sorted(root.glob("[!.]*/")):
        folder = sequence / "masks" if (sequence / "masks").is_dir() else sequence
        if any(folder.glob("[!.]*.png")):
            folders[sequence.name] = folder
    if not folders:
        raise FileNotFoundError(f"{root} holds no masks: expected <sequence>/NNNNN.png or <sequence>/masks/NNNNN.png")
    if names is None:
        return folders
    for name in names:
        if name not in folders:
            raise FileNotFoundError(f"sequence {name} is not in {root}")
    return {name: folders[name] for name in names}


def read_mask_pairs(name: str, predictions: Path, annotations: Path) -> Iterator[tuple[LabelMap, LabelMap]]:
    """(prediction, annotation) label maps (H, W) of one sequence, one pair per annotated frame.

    Raises:
        FileNotFoundError: an annotated frame has no prediction.
        ValueError: a prediction is not as large as its annotation.
    """
    for path in sorted(annotations.glob("[!.]*.png"), key=lambda path: natural_key(path.name)):
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


def find_object_folders(root: Path, names: list[str] | None = None) -> dict[str, dict[int, Path]]:
    """Sequence name -> object id -> folder of its masks, from SA-V's `<sequence>/<object>/*.png`.

    Raises:
        FileNotFoundError: the folder or a named sequence is missing, or nothing was found.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder")
    folders = {}
    for sequence in sorted(root.glob("[!.]*/")):
        objects = {int(folder.name): folder for folder in sorted(sequence.glob("[!.]*/")) if folder.name.isdecimal()}
        if objects:
            folders[sequence.name] = objects
    if not folders:
        raise FileNotFoundError(f"{root} holds no masks: expected <sequence>/<object>/NNNNN.png")
    for name in names or ():
        if name not in folders:
            raise FileNotFoundError(f"sequence {name} is not in {root}")
    return {name: folders[name] for name in names or folders}


def score_object_folders(
    name: str, predictions: dict[int, Path], annotations: dict[int, Path], all_frames: bool = False
) -> dict[int, Score]:
    """J and F of every object of one sequence of SA-V; masks may overlap.

    Raises:
        FileNotFoundError: an annotated mask has no prediction.
        ValueError: a prediction is not as large as its annotation, or there is nothing to score.
    """
    convention = CONVENTIONS["sa-v"]
    scorer = SequenceScorer(convention.with_all_frames() if all_frames else convention)
    for object_id, folder in annotations.items():
        if object_id not in predictions:
            raise FileNotFoundError(f"sequence {name}: there is no prediction for object {folder.name}")
        pairs = read_mask_pairs(f"{name}, object {folder.name}", predictions[object_id], folder)
        for frame, (prediction, truth) in enumerate(pairs):
            shown = {object_id: truth > 0} if truth.any() else {}
            scorer.add(frame, {object_id: prediction > 0}, Annotation(shown, about=frozenset({object_id})))
    scores = {object_id: found.score for object_id, found in scorer.result().items()}
    if not scores:
        raise ValueError(f"sequence {name}: no frame is left to score without the first and the last")
    return scores


def _size(shape_hw: tuple[int, ...]) -> str:
    return f"{shape_hw[1]}x{shape_hw[0]}"
