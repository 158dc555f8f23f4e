"""Videos painted for tests: frames that carry their number, discs of known colour, encoded files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from etam_onnx.runtime.frame_result import FrameResult

Frame = NDArray[np.uint8]
NTSC = Fraction(30000, 1001)
BIT = 8  # side in pixels of one binary digit of the frame number
RED, BLUE = (220, 40, 40), (40, 60, 220)


def numbered_frames(count: int, size: tuple[int, int] = (160, 120)) -> list[Frame]:
    """Frames (height, width, 3) of drifting texture with the frame number in black and white on top."""
    width, height = size
    rng = np.random.default_rng(7)
    blocks = rng.integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    texture = blocks.repeat(8, 0).repeat(8, 1)[:height, :width]
    frames = []
    for index in range(count):
        frame = np.roll(texture, (3 * index, 2 * index), (0, 1))
        frame[: 2 * BIT, : 8 * BIT] = 0
        for bit in range(8):
            if index >> bit & 1:
                frame[: 2 * BIT, bit * BIT : (bit + 1) * BIT] = 255
        frames.append(frame)
    return frames


def number_in(frame: Frame) -> int:
    """The number painted into a frame."""
    return sum(int(frame[BIT, bit * BIT + BIT // 2, 0] > 128) << bit for bit in range(8))


def encode(
    path: Path,
    frames: Sequence[Frame],
    codec: str = "libx264",
    *,
    rate: Fraction = NTSC,
    pixels: str = "yuv420p",
    keys: int = 12,
    between: int = 3,
    container: str | None = None,
    options: dict[str, str] | None = None,
    muxer: dict[str, str] | None = None,
    turn: dict[str, Any] | None = None,
) -> Path:
    """Write frames to a file: a key frame at least every `keys` frames, up to `between` B-frames in a row."""
    with av.open(str(path), "w", format=container, options=muxer or {}) as output:
        stream = output.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        stream.codec_context.gop_size = keys
        stream.codec_context.max_b_frames = between
        if turn is not None:
            stream.set_display_rotation(turn["degrees"], hflip=turn.get("hflip", False))
        for index, array in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame.pts, frame.time_base = index, 1 / rate
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def decoded(path: Path) -> list[Frame]:
    """All frames of a file from front to back, without seeking, as the plain use of PyAV gives them."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def discs(index: int, size: tuple[int, int] = (160, 120)) -> dict[str, NDArray[np.bool_]]:
    """Masks (height, width) of the red and the blue disc in frame `index`."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    red = (x - (30 + 3 * index)) ** 2 + (y - 40) ** 2 <= 14**2
    blue = (x - (width - 30 - 2 * index)) ** 2 + (y - 90) ** 2 <= 12**2
    return {"red": red, "blue": blue}


def disc_frames(count: int, size: tuple[int, int] = (160, 120)) -> list[Frame]:
    """Frames of a red and a blue disc that move over grey."""
    frames = []
    for index in range(count):
        frame = np.full((size[1], size[0], 3), 128, np.uint8)
        masks = discs(index, size)
        frame[masks["red"]] = RED
        frame[masks["blue"]] = BLUE
        frames.append(frame)
    return frames


class ColourPredictor:
    """A predictor with the interface of `VideoPredictor` that follows the colour an object had where it was
    prompted."""

    def __init__(self) -> None:
        self.prompted_on: list[int] = []

    def init_state(self, video: Any) -> dict[str, Any]:
        return {"video": video, "colours": {}}

    def add_new_points_or_box(
        self,
        inference_state: dict[str, Any],
        frame_idx: int,
        obj_id: int,
        points: NDArray[np.float32] | None = None,
        labels: NDArray[np.int32] | None = None,
        clear_old_points: bool = True,
        normalize_coords: bool = True,
        box: NDArray[np.float32] | None = None,
    ) -> None:
        if points is None:
            assert box is not None
            points, labels = box.reshape(2, 2).mean(0, keepdims=True), np.ones(1, np.int32)
        assert labels is not None
        assert len(points) == len(labels)
        x, y = points[list(labels).index(1)].astype(int)
        self.prompted_on.append(frame_idx)
        inference_state["colours"][obj_id] = inference_state["video"][frame_idx][y, x].astype(int)

    def add_new_mask(
        self, inference_state: dict[str, Any], frame_idx: int, obj_id: int, mask: NDArray[np.bool_]
    ) -> None:
        self.prompted_on.append(frame_idx)
        frame = inference_state["video"][frame_idx]
        inference_state["colours"][obj_id] = np.median(frame[mask], axis=0).astype(int)

    def propagate_in_video(
        self,
        inference_state: dict[str, Any],
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[int, list[int], NDArray[np.float32]]]:
        video, colours = inference_state["video"], inference_state["colours"]
        start = start_frame_idx or 0
        beyond = len(video) if max_frame_num_to_track is None else max_frame_num_to_track
        last = max(0, start - beyond) if reverse else min(len(video) - 1, start + beyond)
        for index in range(start, last + (-1 if reverse else 1), -1 if reverse else 1):
            frame = video[index].astype(int)
            rows = [130.0 - np.abs(frame - colour).sum(2) for colour in colours.values()]
            yield index, list(colours), np.stack(rows)[:, None].astype(np.float32)

    def results_in_video(self, *arguments: Any, **options: Any) -> Iterator[FrameResult]:
        for index, ids, logits in self.propagate_in_video(*arguments, **options):
            ones = np.ones(len(ids), np.float32)
            yield FrameResult(index, np.array(ids), ones, ones < 0, ones, logits[:, 0], logits.shape[2:])
