"""Tracking a video and writing what was found, frame by frame, without holding the video or its masks."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from ..runtime.foreground import foreground_part
from ..runtime.frame_result import FrameResult
from ..runtime.resize import resize_part
from ..runtime.video import Frame, Video
from .mask_folder import MaskFolder, label_map
from .overlay import Marks, Mask, Overlay
from .prompts import ObjectPrompt
from .video_writer import VideoWriter
from .work_queue import WorkQueue

WAITING = 2  # tracked frames that may wait to be written


class Predictor(Protocol):
    """The part of `VideoPredictor` that is used here."""

    def init_state(self, video: Any) -> Any: ...

    def add_new_points_or_box(
        self,
        inference_state: Any,
        frame_idx: int,
        obj_id: int,
        points: Any = None,
        labels: Any = None,
        clear_old_points: bool = True,
        normalize_coords: bool = True,
        box: Any = None,
    ) -> Any: ...

    def add_new_mask(self, inference_state: Any, frame_idx: int, obj_id: int, mask: Any) -> Any: ...

    def results_in_video(
        self,
        inference_state: Any,
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        reverse: bool = False,
    ) -> Iterator[FrameResult]: ...


@dataclass(frozen=True)
class Plan:
    """Which frames are tracked: from `start`, where the prompts are, onwards or back to the first frame.

    With `most` frames given, only that many are tracked and nothing else is written; without, the video is
    written whole and frames that are not tracked stay as they are.
    """

    frames: int
    start: int = 0
    reverse: bool = False
    most: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.frames:
            raise ValueError(f"--start {self.start} is outside the video, whose frames are 0 to {self.frames - 1}")
        if self.most is not None and self.most < 1:
            raise ValueError(f"--max-frames must be at least 1, found {self.most}")
        if self.reverse and self.start == 0:
            raise ValueError("--reverse tracks back from --start, and nothing comes before frame 0")

    @property
    def tracked(self) -> range:
        """Numbers of the frames that get masks, ascending."""
        most = self.frames if self.most is None else self.most
        if self.reverse:
            return range(max(0, self.start - most + 1), self.start + 1)
        return range(self.start, min(self.frames, self.start + most))

    @property
    def written(self) -> range:
        """Numbers of the frames that are written, ascending."""
        return range(self.frames) if self.most is None else self.tracked


@dataclass(frozen=True)
class FoundFrame:
    """One tracked frame: masks (height, width) by object, and the label map if one is wanted."""

    index: int
    masks: dict[int, Mask]
    labels: NDArray[np.uint8] | None

    def packed(self) -> tuple[int, list[int], tuple[int, ...], bytes, bytes | None]:
        """A few kilobytes that hold the same."""
        stack = np.stack(list(self.masks.values()))
        labels = None if self.labels is None else zlib.compress(self.labels.tobytes(), 1)
        return (
            self.index,
            list(self.masks),
            stack.shape,
            zlib.compress(np.packbits(stack).tobytes(), 1),
            labels,
        )

    @classmethod
    def unpacked(
        cls, index: int, ids: list[int], shape: tuple[int, ...], masks: bytes, labels: bytes | None
    ) -> FoundFrame:
        """What `packed` gave, restored."""
        bits = np.unpackbits(np.frombuffer(zlib.decompress(masks), np.uint8), count=int(np.prod(shape)))
        stack = bits.reshape(shape).view(np.bool_)
        flat = None if labels is None else np.frombuffer(zlib.decompress(labels), np.uint8)
        return cls(index, dict(zip(ids, stack, strict=True)), None if flat is None else flat.reshape(shape[1:]))


def found_frames(
    predictor: Predictor, video: Video, prompts: Mapping[int, ObjectPrompt], plan: Plan, labelled: bool
) -> Iterator[FoundFrame]:
    """Prompt the objects on the first frame of the plan and track them, in the order of tracking."""
    state = predictor.init_state(video)
    for number, prompt in prompts.items():
        if prompt.mask is not None:
            predictor.add_new_mask(state, plan.start, number, prompt.mask)
        else:
            predictor.add_new_points_or_box(
                state,
                plan.start,
                number,
                points=np.array(prompt.points, np.float32) if prompt.points else None,
                labels=np.array(prompt.labels, np.int32) if prompt.points else None,
                box=None if prompt.box is None else np.array(prompt.box, np.float32),
            )
    beyond_start = len(plan.tracked) - 1
    for result in predictor.results_in_video(state, plan.start, beyond_start, plan.reverse):
        masks = dict(zip(result.ids.tolist(), result.masks, strict=True))
        yield FoundFrame(result.frame, masks, _label_map(result) if labelled else None)


def _label_map(result: FrameResult) -> NDArray[np.uint8]:
    """`label_map` of the result, computed only where there can be an object."""
    height, width = result.size
    labels = np.zeros((height, width), np.uint8)
    rows, columns = foreground_part(result.low_res, height, width)
    logits = resize_part(result.low_res, height, width, rows, columns)
    labels[rows, columns] = label_map(result.ids.tolist(), logits)
    return labels


def in_order(found: Iterator[FoundFrame], plan: Plan) -> Iterator[FoundFrame]:
    """The same frames in ascending order; backward tracking is finished first and kept packed."""
    if not plan.reverse:
        yield from found
        return
    packed = [frame.packed() for frame in found]
    while packed:
        yield FoundFrame.unpacked(*packed.pop())


def write_video(
    found: Iterator[FoundFrame],
    video: Video,
    plan: Plan,
    prompts: Mapping[int, ObjectPrompt],
    writer: VideoWriter | None,
    masks: MaskFolder | None,
    seen: Callable[[FoundFrame], None],
) -> None:
    """Write all frames of the plan, tracked ones with masks drawn on, and the label maps.

    A thread of its own draws and writes a frame while the next one is tracked, so `video` should be one that two
    threads may read.  `seen` is told of each tracked frame.
    """
    overlay = Overlay(video.size)
    marks = {n: Marks(p.points, p.labels, p.box) for n, p in prompts.items()}

    def picture(index: int) -> Frame | VideoFrame:
        stored = video.stored(index)
        return video[index] if stored is None else stored

    def store_plain(index: int) -> None:
        if writer is not None:
            writer.write(overlay.draw(picture(index), {}))

    def store(frame: FoundFrame) -> None:
        if masks is not None and frame.labels is not None:
            masks.write(frame.index, frame.labels)
        if writer is not None:
            shown = marks if frame.index == plan.start else None
            writer.write(overlay.draw(picture(frame.index), frame.masks, shown))

    upcoming = in_order(found, plan)
    with WorkQueue(WAITING) as queue:
        for index in plan.written:
            if index not in plan.tracked:
                queue.put(partial(store_plain, index))
                continue
            frame = next(upcoming)
            if frame.index != index:
                raise RuntimeError(f"tracking gave frame {frame.index} where frame {index} was due")
            seen(frame)
            queue.put(partial(store, frame))
