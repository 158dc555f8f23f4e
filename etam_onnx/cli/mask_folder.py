"""Masks as palette PNG files, one per frame, the index being the object's id: the format of DAVIS."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .atomic import check_parent, finished_file, finished_files

LARGEST_ID = 255


@lru_cache(maxsize=1)
def davis_palette() -> NDArray[np.uint8]:
    """(256, 3) RGB. The bits of an index, three at a time, fill red, green and blue from the top bit down."""
    index = np.arange(256)[:, None]
    channel = np.arange(3)[None]
    colours = np.zeros((256, 3), int)
    for step in range(8):
        colours |= ((index >> (3 * step + channel)) & 1) << (7 - step)
    return colours.astype(np.uint8)


def label_map(ids: Sequence[int], logits: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Ids (N,) and logits (N, H, W) -> (H, W): the id with the highest logit above 0, or 0."""
    check_ids(ids)
    if len(ids) == 0:
        return np.zeros(logits.shape[1:], np.uint8)
    if len(ids) == 1:
        return np.where(logits[0] > 0, np.uint8(ids[0]), np.uint8(0))
    return np.where(logits.max(0) > 0, np.array(ids, np.uint8)[logits.argmax(0)], np.uint8(0))


def check_ids(ids: Iterable[int]) -> None:
    """ValueError unless all ids fit a palette, 1 to 255."""
    for number in ids:
        if not 1 <= number <= LARGEST_ID:
            raise ValueError(f"object id {number} does not fit a palette PNG, which holds ids 1 to {LARGEST_ID}")


def palette_picture(labels: NDArray[np.uint8]) -> Image.Image:
    """A label map (H, W) as a mode P picture in the palette of DAVIS."""
    picture = Image.fromarray(labels)
    picture.putpalette(davis_palette().tobytes())
    return picture


def write_palette_png(path: Path, ids: Sequence[int], logits: NDArray[np.floating]) -> None:
    """One palette PNG from ids (N,) and logits (N, H, W), finished or not at all."""
    with finished_file(path) as part:
        palette_picture(label_map(ids, logits)).save(part, format="PNG")


class MaskFolder:
    """Label maps in, PNG files out; see `mask_folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, frame: int, labels: NDArray[np.uint8]) -> None:
        """Store the label map (H, W) of a frame."""
        palette_picture(labels).save(self._folder / mask_name(frame))


@contextmanager
def mask_folder(folder: str | Path) -> Iterator[MaskFolder]:
    """A writer of masks named by frame number, five digits or more: 00000.png.

    The files appear in `folder` when the block ends, replacing those of the same names; when it is left
    early, there are none.
    """
    with finished_files(Path(folder)) as part:
        yield MaskFolder(part)


def check_folder(folder: Path, frames: Iterable[int]) -> None:
    """Before any work: an error if `folder` cannot be written, or holds masks of other frames than `frames`.

    Those would be left among the new ones and be taken for part of the same result.
    """
    check_parent(folder)
    if not folder.exists():
        return
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; name a folder to write into")
    names = {mask_name(frame) for frame in frames}
    for path in sorted(folder.iterdir()):
        if re.fullmatch(r"\d{5,}\.png", path.name) and path.name not in names:
            raise ValueError(
                f"{folder} holds {path.name}, a mask of a frame that is not tracked now; "
                "empty the folder or name another"
            )


def mask_name(frame: int) -> str:
    return f"{frame:05d}.png"
