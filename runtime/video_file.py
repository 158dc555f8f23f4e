"""A video file as frames by number: exact, in either direction, without holding the decoded video.

The index comes from reading the packets once without decoding them. A frame is found by seeking to the last
key frame shown before it and decoding from there; what is decoded on the way stays in a bounded cache, so
walking backwards decodes each group of pictures a few times at most.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from .video import Frame, Video, VideoError
from .video_stream import THREADS, PacketTimes, Turn, decode, frame_rate, open_stream

CACHE_BYTES = 256 * 1024 * 1024
LEAST_CACHED = 8
PROBED = 16  # frames decoded at opening to see whether time stamps can be trusted
TRIED_ENTRIES = 3
UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED
BT709 = 1  # AVCOL_SPC_BT709


class VideoFile(Video):
    """Any file that FFmpeg reads. Frame i equals the i-th frame of decoding from the start, turned upright.

    A file cut short has as many frames as can be decoded, and says so in `notes` where it declares more.
    """

    def __init__(self, path: str | Path, cache_bytes: int = CACHE_BYTES) -> None:
        """Raises VideoError when the file is no video or nothing in it can be decoded."""
        self.path = Path(path)
        self._threads = THREADS
        self._container, self._stream = open_stream(self.path)
        self._reformatter = VideoReformatter()
        self._cache: OrderedDict[int, VideoFrame] = OrderedDict()
        self._cached = LEAST_CACHED
        self._decoder: Iterator[tuple[int, VideoFrame]] | None = None
        self._position = 0  # number of the frame the decoder gives next
        self.fps = frame_rate(self._stream)
        packets = PacketTimes.read(self._container, self._stream)
        declared = self._stream.frames - packets.hidden
        self._times = packets.times
        self._numbers = {time: number for number, time in enumerate(packets.times)}
        # Frames at which decoding can start; the first always can.
        self._entries = sorted({0, *(self._numbers[key] for key in packets.keys)})
        if not self._times_hold():
            # Raw streams and H.264 in AVI carry no usable times: count frames from the start instead.
            self._times, self._entries = [], [0]
            self._length = sum(1 for _ in self._decode_from(0))
        else:
            self._length = len(self._times) if packets.complete else self._decodable()
        if self._length == 0:
            raise VideoError(f"{self.path} holds no frame that can be decoded")
        if declared > self._length:
            self.notes = (f"{self.path} ends early: {self._length} of {declared} frames can be decoded",)
        first = self._native(0)
        self._stored_size = (first.width, first.height)
        self._turn = Turn.of(first)
        bytes_per_frame = max(1, sum(plane.buffer_size for plane in first.planes))
        self._cached = max(LEAST_CACHED, cache_bytes // bytes_per_frame)

    @property
    def size(self) -> tuple[int, int]:
        return self._turn.size(*self._stored_size)

    def __len__(self) -> int:
        return self._length

    def close(self) -> None:
        super().close()
        self._decoder = None
        self._cache.clear()
        self._container.close()

    def _read(self, index: int) -> Frame:
        frame = self._native(index)
        if (frame.width, frame.height) != self._stored_size:
            raise VideoError(
                f"frame {index} of {self.path} is {frame.width}x{frame.height}, but the first frame is "
                f"{self._stored_size[0]}x{self._stored_size[1]}"
            )
        matrix = None
        if frame.colorspace == UNSPECIFIED and not frame.format.is_rgb:
            matrix = int(Colorspace.ITU709 if _above_standard(frame) else Colorspace.ITU601)
        # Several threads would be woken for less work than that takes.
        rgb = self._reformatter.reformat(frame, format="rgb24", src_colorspace=matrix, threads=1).to_ndarray()
        # Copied, so that FFmpeg's aligned buffer goes back at once: where it lives as long as a frame, the heap falls
        # to pieces that fit no other (glibc before 2.38), and grows without end.
        return np.array(self._turn.apply(rgb), np.uint8, order="C")

    def _stored(self, index: int) -> VideoFrame | None:
        frame = self._native(index)
        width, height = frame.width, frame.height
        bt709 = frame.colorspace == BT709 or (frame.colorspace == UNSPECIFIED and _above_standard(frame))
        limited = frame.color_range in (ColorRange.MPEG, ColorRange.UNSPECIFIED)
        whole = (width, height) == self._stored_size and width % 2 == height % 4 == 0
        fits = frame.format.name == "yuv420p" and bt709 and limited and whole and self._turn == Turn()
        return frame if fits else None

    def _native(self, index: int) -> VideoFrame:
        """Frame `index` as it was decoded: from the cache, by decoding on, or by seeking."""
        if (cached := self._cache.get(index)) is not None:
            return cached
        found = self._search(index)
        if found is None and self._threads > 1:
            self._threads, self._decoder = 1, None
            self._reopen()
            found = self._search(index)
        if found is None:
            raise VideoError(f"frame {index} of {self.path} cannot be decoded: the file is damaged there")
        return found

    def _search(self, index: int) -> VideoFrame | None:
        """Decode on or seek until frame `index` comes; None when it does not."""
        nearest = bisect_right(self._entries, index)
        # Not every packet marked as a key frame is a full one (intra refresh): those before it are tried too.
        for entry in reversed(self._entries[max(0, nearest - TRIED_ENTRIES) : nearest]):
            # Reading on needs no past; after going back, what lies before `index` is likely to come next.
            room = LEAST_CACHED
            if self._decoder is None or not entry <= self._position <= index:
                self._decoder, self._position = self._decode_from(entry), entry
                room = self._cached
                self._cache.clear()
            for number, frame in self._decoder:
                self._position = number + 1
                self._keep(number, frame, room)
                if number == index:
                    return frame
                if number > index:
                    break
            self._decoder = None
        return None

    def _keep(self, number: int, frame: VideoFrame, room: int) -> None:
        self._cache[number] = frame
        self._cache.move_to_end(number)
        while len(self._cache) > room:
            self._cache.popitem(last=False)

    def _decode_from(self, entry: int) -> Iterator[tuple[int, VideoFrame]]:
        """(number, frame) from frame `entry` on, which must be one of the entries."""
        if not self._times:
            self._reopen()
            yield from enumerate(decode(self._container, self._stream))
            return
        self._seek(entry)
        for frame in decode(self._container, self._stream):
            number = self._numbers.get(frame.pts) if frame.pts is not None else None
            if number is not None and number >= entry:
                yield number, frame

    def _seek(self, entry: int) -> None:
        """Put the demuxer at the key frame shown as frame `entry`, or at one before it."""
        for candidate in reversed(self._entries[: bisect_right(self._entries, entry)]):
            if candidate == 0:
                break
            try:
                self._container.seek(self._times[candidate], stream=self._stream, backward=True)
                landed = next((p for p in self._container.demux(self._stream) if p.pts is not None), None)
                # Some containers seek by decoding time and land on a later key frame.
                if landed is not None and landed.is_keyframe and (landed.pts or 0) <= self._times[entry]:
                    self._container.seek(self._times[candidate], stream=self._stream, backward=True)
                    return
            except FFmpegError:
                break
        self._reopen()

    def _reopen(self) -> None:
        self._container.close()
        self._container, self._stream = open_stream(self.path, self._threads)

    def _times_hold(self) -> bool:
        """Whether decoding gives frames in the order of the packets' times, tried on the first few frames."""
        if not self._times or len(self._numbers) != len(self._times):
            return False
        self._reopen()
        wanted = self._times[:PROBED]
        found = [frame.pts for frame in islice(decode(self._container, self._stream), len(wanted))]
        # A file that ends within these frames may decode to fewer of them, but in the same order.
        shortened = len(found) < len(wanted) == len(self._times)
        return len(found) > 0 and found == wanted[: len(found)] and (shortened or len(found) == len(wanted))

    def _decodable(self) -> int:
        """Number of frames before the first that is missing, within the last group that can be decoded."""
        self._threads = 1
        self._reopen()
        length = 0
        for entry in reversed(self._entries):
            found = {number for number, _ in self._decode_from(entry)}
            length = next(number for number in count(entry) if number not in found)
            if length > entry:
                break
        if length == len(self._times):
            self._threads = THREADS
            self._reopen()
        return length


def _above_standard(frame: VideoFrame) -> bool:
    """Whether players take an untagged frame of this size for BT.709: above standard definition."""
    return frame.width >= 1280 or frame.height > 576
