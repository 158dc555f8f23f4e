"""The folders of a run as one source of clips."""

from collections.abc import Sequence
from pathlib import Path

from .clips import ClipSource
from .data import Mixture, open_source
from .data.augmentation import AUGMENTATIONS


def open_sources(folders: Sequence[tuple[Path, float]], augment: str, apart: bool = False) -> ClipSource:
    """One source over the training splits of all folders, drawn from by their weights. `augment`: as in a recipe;
    `apart`: see `Mixture`.

    Raises what opening a folder raises: FileNotFoundError or ValueError with a sentence that names it.
    """
    opened = [(open_source(folder, "train", AUGMENTATIONS[augment]), weight) for folder, weight in folders]
    return _together(opened, apart)


def open_validation(folders: Sequence[tuple[Path, float]]) -> ClipSource | None:
    """One source over the validation splits of those folders that have one; None if no folder has."""
    opened = []
    for folder, weight in folders:
        try:
            opened.append((open_source(folder, "val"), weight))
        except (ValueError, FileNotFoundError):
            continue
    return _together(opened) if opened else None


def _together(sources: list[tuple[ClipSource, float]], apart: bool = False) -> ClipSource:
    return sources[0][0] if len(sources) == 1 else Mixture(sources, apart)
