"""Videos as folders of frames with folders of masks: DAVIS, YouTube-VOS, MOSE, and SA-V's validation split."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ...runtime.frames import natural_key, read_picture
from ...runtime.label_maps import object_ids, read_label_map
from .footage import Footage, check_sizes

VOID = 255  # DAVIS and others mark what does not count with it; alone in a mask it is the object of DAVIS 2016


class LabelledFrames:
    """A video with one label map per annotated frame, `masks/NNNNN.png` for `frames/NNNNN.jpg`."""

    still = False

    def __init__(self, frames: Path, masks: Path, known: Collection[int] | None = None) -> None:
        """`known`: the ids that are objects; None: all."""
        self.frames, self.known = frames, known
        self.paths = sorted(masks.glob("*.png"), key=lambda path: natural_key(path.name))
        self._labels: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def frame(self, position: int) -> np.ndarray:
        frame = read_picture(self.frames / f"{self.paths[position].stem}.jpg")
        return check_sizes(frame, self._map(position).shape)

    def objects(self, position: int) -> Sequence[int]:
        ids = object_ids(self._map(position))
        real = [number for number in ids if number != VOID]
        return [number for number in real or ids if self.known is None or number in self.known]

    def mask(self, position: int, number: int) -> np.ndarray:
        return np.asarray(self._map(position) == number)

    def _map(self, position: int) -> np.ndarray:
        if position not in self._labels:
            self._labels[position] = read_label_map(self.paths[position])
        return self._labels[position]

    def close(self) -> None:
        self._labels.clear()


class SeparateMasks:
    """A video with one folder of masks per object, `masks/<object>/NNNNN.png` for `frames/NNNNN.jpg`."""

    still = False

    def __init__(self, frames: Path, masks: Path) -> None:
        self.frames = frames
        self.folders = _folders(masks)
        names = {path.name for folder in self.folders for path in folder.glob("*.png")}
        self.names = sorted(names, key=natural_key)

    def __len__(self) -> int:
        return len(self.names)

    def frame(self, position: int) -> np.ndarray:
        frame = read_picture((self.frames / self.names[position]).with_suffix(".jpg"))
        return check_sizes(frame, read_label_map(self._annotated(position)).shape)

    def objects(self, position: int) -> Sequence[int]:
        return [number for number in range(len(self.folders)) if self.mask(position, number).any()]

    def mask(self, position: int, number: int) -> np.ndarray:
        path = self.folders[number] / self.names[position]
        if path.is_file():
            return np.asarray(read_label_map(path) > 0)
        return np.zeros(read_label_map(self._annotated(position)).shape, bool)

    def _annotated(self, position: int) -> Path:
        """The mask of some object that has one there."""
        return next(path for folder in self.folders if (path := folder / self.names[position]).is_file())

    def close(self) -> None:
        pass


def find_labelled(
    frames: Path, masks: Path, known: Mapping[str, Collection[int]] | None = None
) -> list[tuple[str, Callable[[], Footage]]]:
    """Videos in `masks`, by name. `known`: the ids that are objects, for videos that it lists."""
    return [
        (folder.name, partial(LabelledFrames, frames / folder.name, folder, (known or {}).get(folder.name)))
        for folder in _folders(masks)
    ]


def find_separate(frames: Path, masks: Path) -> list[tuple[str, Callable[[], Footage]]]:
    """The same where every object has a folder of its own."""
    return [(folder.name, partial(SeparateMasks, frames / folder.name, folder)) for folder in _folders(masks)]


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        raise FileNotFoundError(f"There are frames but no folder {root} with masks.")
    return sorted(folder for folder in root.iterdir() if folder.is_dir())


def read_known_objects(meta: Path) -> dict[str, set[int]]:
    """Video -> ids of its objects, from the `meta.json` of YouTube-VOS. Raises ValueError if it is no such file."""
    try:
        with meta.open(encoding="utf-8") as file:
            videos = json.load(file)["videos"]
        return {name: {int(number) for number in video["objects"]} for name, video in videos.items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{meta} is no list of videos with their objects ({error}).") from error
