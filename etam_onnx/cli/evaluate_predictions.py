"""Predicted masks written beside the scoring, as the benchmarks' servers take them."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .atomic import check_parent, hidden_name

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..evaluation.sequences import AnnotatedSequence

    Masks = Mapping[int, NDArray[np.bool_]]


def check_predictions(root: Path | None, sequences: Iterable[AnnotatedSequence]) -> None:
    """Before any work: an error unless predictions can be written into `root`, which is made if absent.

    A video's folder of predictions is replaced as a whole, so it must not hold the data set or anything but masks.
    """
    if root is None:
        return
    check_parent(root)
    if root.exists() and not root.is_dir():
        raise NotADirectoryError(f"{root} is a file; name a folder to write into")
    for sequence in sequences:
        folder = root / sequence.name
        if not folder.exists():
            continue
        for source in {path.parent.resolve() for path in sequence.files()}:
            if folder.resolve() in (source, *source.parents):
                raise ValueError(f"{folder} is part of the data set; name another folder for the predictions")
        for path in sorted(folder.rglob("*")) if folder.is_dir() else [folder]:
            if not _may_be_replaced(path, folder):
                raise ValueError(f"{path} is no predicted mask and would be lost; name another folder")
    root.mkdir(exist_ok=True)


def _may_be_replaced(path: Path, folder: Path) -> bool:
    """Whether it is what `written` leaves in a video's folder."""
    depth = len(path.relative_to(folder).parts)
    if path.is_dir():
        return depth == 1 and path.name.isdecimal()
    return depth in (1, 2) and (path.suffix == ".png" or path.name.startswith("."))


def content_of(folder: Path) -> str | None:
    """A hash of the masks that a folder holds; None where there is no such folder."""
    if not folder.is_dir():
        return None
    found = hashlib.sha256()
    for path in sorted(folder.rglob("[!.]*.png")):
        found.update(f"{path.relative_to(folder).as_posix()}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def written(masks: Iterator[Masks], sequence: AnnotatedSequence, root: Path) -> Iterator[Masks]:
    """Pass the masks of every frame on and write them: `<root>/<video>/<frame>.png` with the id as the pixel, or,
    where objects may overlap, `<root>/<video>/<object>/<frame>.png` with 1 inside.

    The folder of a video appears when its last frame is written.
    """
    import numpy as np

    from .mask_folder import check_ids, palette_picture

    with _finished_folder(root / sequence.name) as part:
        if sequence.overlapping:
            ids = sorted({object_id for found in sequence.first_masks().values() for object_id in found})
            for object_id in ids:
                (part / f"{object_id:03d}").mkdir()
        for name, found in zip(sequence.frame_names, masks, strict=True):
            if sequence.overlapping:
                empty = np.zeros(sequence.size_hw, np.bool_)
                for object_id in ids:
                    inside = found.get(object_id, empty).astype(np.uint8)
                    palette_picture(inside).save(part / f"{object_id:03d}" / f"{name}.png")
            else:
                check_ids(found)
                labels = np.zeros(sequence.size_hw, np.uint8)
                for object_id, mask in found.items():
                    labels[mask] = object_id
                palette_picture(labels).save(part / f"{name}.png")
            yield found


@contextmanager
def _finished_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into that takes the place of `folder` when the block ends; left early, nothing changes."""
    part = hidden_name(folder)
    part.mkdir()
    try:
        yield part
        if folder.is_dir():
            shutil.rmtree(folder)
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
