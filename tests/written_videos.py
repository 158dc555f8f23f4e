"""Small annotated videos on disk in the layouts of the benchmarks, and a predictor that follows flat colours."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from etam_onnx.evaluation.layouts import read_dataset
from etam_onnx.evaluation.sequences import AnnotatedSequence

SIZE_HW = (48, 64)
COLOURS = {1: (220, 30, 30), 2: (30, 30, 220), 3: (220, 30, 30), 8: (30, 30, 220)}
Labels = NDArray[np.uint8]


def scene(number: int, entries: Mapping[int, int]) -> tuple[NDArray[np.uint8], Labels]:
    """Frame and label map: squares of flat colour that move right by two pixels a frame.

    entries: object id -> first frame, one row of the picture each.
    """
    frame = np.full((*SIZE_HW, 3), 120, dtype=np.uint8)
    labels = np.zeros(SIZE_HW, dtype=np.uint8)
    for row, (object_id, start) in enumerate(entries.items()):
        if number >= start:
            square = np.s_[4 + 22 * row : 20 + 22 * row, 5 + 2 * number : 25 + 2 * number]
            frame[square], labels[square] = COLOURS[object_id], object_id
    return frame, labels


def save(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write a picture and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_video(
    images: Path,
    masks: Path,
    entries: Mapping[int, int],
    n_frames: int = 6,
    annotated: Iterable[int] | None = None,
    name: str = "{:05d}",
) -> None:
    """Frames as PNG (so that colours stay), and label maps of the annotated ones."""
    annotated = range(n_frames) if annotated is None else annotated
    for number in range(n_frames):
        frame, labels = scene(number, entries)
        save(images / f"{name.format(number)}.png", frame)
        if number in annotated:
            save(masks / f"{name.format(number)}.png", labels)


def write_flat(
    root: Path, video: str, entries: Mapping[int, int], n_frames: int = 6, annotated: Iterable[int] | None = None
) -> None:
    """The layout of MOSE, LVOS and YouTube-VOS."""
    write_video(root / "JPEGImages" / video, root / "Annotations" / video, entries, n_frames, annotated)


def write_meta(path: Path, videos: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> None:
    """A meta.json from what it says about each object."""
    content = {
        name: {"objects": {str(n): dict(fact) for n, fact in objects.items()}} for name, objects in videos.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"videos": content}))


def write_sa_v(root: Path, video: str, entries: Mapping[int, int], n_frames: int = 17) -> None:
    """SA-V: every fourth frame annotated, a folder per object named from 000 on."""
    for number in range(n_frames):
        frame, labels = scene(number, entries)
        save(root / "JPEGImages_24fps" / video / f"{number:05d}.png", frame)
        for folder, object_id in enumerate(entries):
            if number % 4 == 0:
                path = root / "Annotations_6fps" / video / f"{folder:03d}" / f"{number:05d}.png"
                save(path, (labels == object_id).astype(np.uint8))


def make_sequence(root: Path, entries: dict[int, int], n_frames: int = 6) -> AnnotatedSequence:
    """One video with frames and masks side by side, every frame annotated."""
    write_video(root / "clip" / "images", root / "clip" / "masks", entries, n_frames)
    (sequence,) = read_dataset(root).sequences
    return sequence


@dataclass
class ColourState:
    """Frames, and the colour that each object has been given."""

    frames: list[NDArray[np.int16]]
    colours: dict[int, NDArray[np.float64]] = field(default_factory=dict)


class ColourPredictor:
    """Tracks flat colours through the video predictor's methods, starting where it is told to."""

    def __init__(self) -> None:
        self.clicks: list[tuple[int, int, int, int, int]] = []

    def init_state(self, video: Sequence[NDArray[np.uint8]]) -> ColourState:
        return ColourState([frame.astype(np.int16) for frame in video])

    def reset_state(self, state: ColourState) -> None:
        state.colours.clear()

    def add_new_mask(self, state: ColourState, frame: int, object_id: int, mask: NDArray[np.bool_]) -> None:
        state.colours[object_id] = state.frames[frame][mask].mean(axis=0)

    def add_new_points_or_box(
        self,
        state: ColourState,
        frame: int,
        object_id: int,
        points: NDArray[np.float32] | None = None,
        labels: NDArray[np.int32] | None = None,
        clear_old_points: bool = True,
        box: NDArray[np.float32] | None = None,
    ) -> tuple[int, list[int], NDArray[np.float32]]:
        if box is not None:
            x, y = (box[:2] + box[2:]) / 2
        else:
            assert points is not None and labels is not None and len(points) == len(labels) == 1
            x, y = points[0]
            self.clicks.append((frame, object_id, int(x), int(y), int(labels[0])))
        if box is not None or (labels is not None and labels[0] == 1):
            state.colours[object_id] = state.frames[frame][int(y), int(x)].astype(np.float64)
        return frame, list(state.colours), self._logits(state, frame)

    def propagate_in_video(
        self, state: ColourState, start_frame_idx: int
    ) -> Iterator[tuple[int, list[int], NDArray[np.float32]]]:
        for number in range(start_frame_idx, len(state.frames)):
            yield number, list(state.colours), self._logits(state, number)

    def _logits(self, state: ColourState, number: int) -> NDArray[np.float32]:
        distances = [np.abs(state.frames[number] - colour).max(axis=2) for colour in state.colours.values()]
        return 60 - np.stack(distances)[:, None].astype(np.float32)
