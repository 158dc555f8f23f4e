"""Predicted masks written beside the scoring, as the benchmarks' servers take them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .atomic import check_parent, hidden_name

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..evaluation.sequences import AnnotatedSequence

    Masks = Mapping[int, NDArray[np.bool_]]


def check_predictions(root: Path | None) -> None:
    """Before any work: an error unless predictions can be written into `root`, which is made if absent."""
    if root is None:
        return
    check_parent(root)
    if root.exists() and not root.is_dir():
        raise NotADirectoryError(f"{root} is a file; name a folder to write into")
    root.mkdir(exist_ok=True)


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
