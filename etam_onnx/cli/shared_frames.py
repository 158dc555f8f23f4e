"""A video that two threads read: tracking reads a frame, and a little later drawing reads it again."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING

from ..runtime.video import Frame, Video

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

KEPT = 5  # frames that may lie between the two readers, the one being read included


class SharedFrames(Video):
    """`video` with one reader at a time.  The frames read last are kept, so the second reading costs nothing; but not
    where there are stored frames, which is what the second reader takes then.

    Frames are handed out without a copy and are read-only.  turn: the lock that is held while `video` is used.
    """

    def __init__(self, video: Video) -> None:
        self.video = video
        self.fps = video.fps
        self.notes = video.notes
        self.turn = Lock()
        self._kept: OrderedDict[int, Frame] = OrderedDict()

    @property
    def size(self) -> tuple[int, int]:
        return self.video.size

    def __len__(self) -> int:
        return len(self.video)

    def close(self) -> None:
        """Let go of the frames; the video stays open."""
        super().close()
        self._kept.clear()

    def _read(self, index: int) -> Frame:
        with self.turn:
            frame = self._kept.get(index)
            if frame is None:
                frame = self.video[index]
                frame.setflags(write=False)
                if self.video.stored(index) is None:
                    self._kept[index] = frame
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            return frame

    def _stored(self, index: int) -> VideoFrame | None:
        with self.turn:
            return self.video.stored(index)
