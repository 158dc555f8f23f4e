"""SA-V as its training split is published: `sav_N.mp4` at 24 frames a second, masklets at 6 in JSON files beside it.

`sav_N_manual.json` and `sav_N_auto.json` hold `masklet`: for every fourth frame a list with the run lengths of each
object. Frames that were extracted beforehand, `sav_N/00000.jpg` and so on, serve instead of the video.
"""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.frames import read_picture
from ...runtime.run_lengths import CocoMask
from ...runtime.video_file import VideoFile
from .footage import Footage, UnusableError, check_sizes

EVERY = 4  # frames of the video from one annotated frame to the next
KINDS = ("manual", "auto")
FOLDERS = ("", "JPEGImages_24fps")  # where extracted frames may lie, seen from the folder of the JSON file


class Masklets:
    """One video with the objects of both its files; those of the second are numbered after those of the first."""

    still = False

    def __init__(self, stem: Path, frames: Path | None) -> None:
        """`stem`: the path of the video without its suffix. `frames`: the folder of its extracted frames, if any."""
        tables = [_masklet(path) for kind in KINDS if (path := annotation(stem, kind)).is_file()]
        if not tables:
            raise UnusableError("its annotations are missing")
        self.tables, length = tables, min(len(table) for table in tables)
        self._rows: dict[int, list[CocoMask | None]] = {}
        self.pictures: dict[int, Path] | None = None
        self.video: VideoFile | None = None
        if frames is not None:
            self.pictures = {int(path.stem): path for path in frames.glob("*.jpg") if path.stem.isdecimal()}
            last = max(self.pictures, default=-1)
        else:
            self.video = VideoFile(stem.with_suffix(".mp4"))
            if self.video.notes:
                self.close()
                raise UnusableError(self.video.notes[0])
            last = len(self.video) - 1
        self.length = min(length, last // EVERY + 1)

    def __len__(self) -> int:
        return self.length

    def frame(self, position: int) -> np.ndarray:
        number = EVERY * position
        if self.video is not None:
            frame = self.video[number]
        elif self.pictures is not None and number in self.pictures:
            frame = read_picture(self.pictures[number])
        else:
            raise UnusableError(f"its frame {number} is missing")
        sizes = [mask.size for mask in self._stored(position) if mask is not None]
        return check_sizes(frame, sizes[0]) if sizes else frame

    def objects(self, position: int) -> Sequence[int]:
        return [number for number, mask in enumerate(self._stored(position)) if mask is not None and mask.area > 0]

    def mask(self, position: int, number: int) -> np.ndarray:
        stored = self._stored(position)
        mask = stored[number] if number < len(stored) else None
        if mask is None:
            raise UnusableError(f"object {number} has no annotation on frame {EVERY * position}")
        return mask.pixels()

    def _stored(self, position: int) -> list[CocoMask | None]:
        if position not in self._rows:
            rows = [table[position] for table in self.tables]
            if not all(isinstance(row, list) for row in rows):
                raise UnusableError(f"its frame {EVERY * position} is not annotated")
            self._rows[position] = [None if one is None else CocoMask(one) for row in rows for one in row]
        return self._rows[position]

    def close(self) -> None:
        if self.video is not None:
            self.video.close()


def annotation(stem: Path, kind: str) -> Path:
    """The JSON file of a video; `kind` is "manual" or "auto"."""
    return stem.with_name(f"{stem.name}_{kind}.json")


def find_videos(root: Path) -> list[tuple[str, Callable[[], Footage]]]:
    """All videos under `root` that have masklets, by name; those without frames or video too, for they are counted."""
    stems = set()
    for kind in KINDS:
        ending = f"_{kind}.json"
        stems |= {path.with_name(path.name.removesuffix(ending)) for path in root.rglob(f"*{ending}")}
    return [(stem.name, partial(Masklets, stem, _extracted(stem))) for stem in sorted(stems)]


def _extracted(stem: Path) -> Path | None:
    folders = (stem.parent / folder / stem.name for folder in FOLDERS)
    return next((folder for folder in folders if folder.is_dir()), None)


def _masklet(path: Path) -> list[Any]:
    try:
        with path.open(encoding="utf-8") as file:
            table = json.load(file)["masklet"]
    except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UnusableError(f"{path.name} has no masklets ({error})") from error
    if not isinstance(table, list):
        raise UnusableError(f"{path.name} has no list of masklets")
    return table
