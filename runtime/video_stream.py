"""One video stream in a file: opening it, its packet times, decoding it front to back, its rate, its turn."""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from .video import VideoError

STILL_FORMATS = ("image2", "_pipe")  # how FFmpeg names its readers of single pictures
THREADS = 4


def open_stream(path: Path, threads: int = THREADS) -> tuple[InputContainer, VideoStream]:
    """The file and its first video stream that is not a cover picture. VideoError when there is none.

    With several threads a damaged frame takes its neighbours with it; with one, only itself.
    """
    try:
        container = av.open(str(path))
    except FFmpegError as error:
        empty = path.exists() and path.stat().st_size == 0
        reason = "it is empty" if empty else f"it is damaged, cut short or not a video ({error.strerror})"
        raise VideoError(f"cannot read {path} as a video: {reason}") from None
    problem = None
    streams = [s for s in container.streams.video if not s.disposition & s.disposition.attached_pic]
    if container.format.name.endswith(STILL_FORMATS):
        problem = f"{path} is a single picture, not a video"
    elif not streams:
        problem = f"{path} has no video stream"
    if problem is not None:
        container.close()
        raise VideoError(problem)
    stream = streams[0]
    if threads > 1:
        stream.thread_type = "AUTO"
    stream.codec_context.thread_count = min(threads, os.cpu_count() or 1)
    return container, stream


def decode(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Frames in the order they are shown; damaged packets are passed over, as players do."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except FFmpegError:
            # The file breaks off here; the decoder still holds the last frames.
            with suppress(FFmpegError):
                yield from stream.codec_context.decode(None)
            return
        with suppress(FFmpegError):
            yield from packet.decode()


@dataclass(frozen=True)
class PacketTimes:
    """What reading a stream's packets without decoding them tells.

    `times` and `keys` are presentation times of all frames and of the key frames, ascending, in the stream's
    time base; empty when a packet has none. `hidden` counts frames that an edit list leaves out. `complete`
    says that the file was read to its proper end and holds as many frames as it declares.
    """

    times: list[int]
    keys: list[int]
    hidden: int
    complete: bool

    @classmethod
    def read(cls, container: InputContainer, stream: VideoStream) -> "PacketTimes":
        times, keys, hidden, complete = [], [], 0, True
        try:
            for packet in container.demux(stream):
                if packet.size == 0:
                    continue
                if packet.is_discard:
                    hidden += 1
                    continue
                if packet.pts is None:
                    return cls([], [], 0, False)
                complete = complete and not packet.is_corrupt
                times.append(packet.pts)
                if packet.is_keyframe:
                    keys.append(packet.pts)
        except FFmpegError:
            complete = False
        return cls(sorted(times), sorted(keys), hidden, complete and stream.frames == len(times) + hidden)


def frame_rate(stream: VideoStream) -> Fraction | None:
    """Frames per second: the nominal rate where it agrees with the average one, else the average.

    Containers that store rounded times (Matroska, FLV) give an average slightly off the nominal rate; phones
    record at a varying rate, for which the average alone keeps the duration.
    """
    average, nominal = stream.average_rate, stream.guessed_rate
    if average and nominal and abs(nominal / average - 1) < Fraction(1, 100):
        return Fraction(nominal)
    rate = average or nominal
    return Fraction(rate) if rate else None


@dataclass(frozen=True)
class Turn:
    """How a stored frame becomes upright: swap rows and columns, then mirror."""

    swap: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> "Turn":
        """From the container's display matrix, x' = a x + c y and y' = b x + d y.

        Anything but the eight turns and mirrors of a rectangle is left alone.
        """
        side_data = cast("Mapping[Type, bytes]", frame.side_data)
        if Type.DISPLAYMATRIX not in side_data:
            return cls()
        matrix = np.frombuffer(bytes(side_data[Type.DISPLAYMATRIX]), np.int32)
        a, b, c, d = (round(int(matrix[i]) / 65536) for i in (0, 1, 3, 4))
        if a == d == 0 and abs(b) == abs(c) == 1:
            return cls(swap=True, flip_rows=b < 0, flip_columns=c < 0)
        if b == c == 0 and abs(a) == abs(d) == 1:
            return cls(flip_rows=d < 0, flip_columns=a < 0)
        return cls()

    def size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of the upright frame."""
        return (height, width) if self.swap else (width, height)

    def apply(self, stored: np.ndarray) -> np.ndarray:
        """(height, width, 3) as stored -> upright; a view."""
        turned = stored.swapaxes(0, 1) if self.swap else stored
        return turned[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]
