"""What a video is to the rest of the runtime: a length, a size, a rate, and frames by number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from fractions import Fraction
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

Frame = NDArray[np.uint8]
"""One frame: (height, width, 3), RGB, 0..255, upright, origin at the top left corner."""


class VideoError(ValueError):
    """A video that cannot be used, said in one sentence."""


class Video(ABC):
    """Frames by number, each decoded when it is asked for.

    `fps` is None where the source carries no rate. `notes` holds sentences a user should see, such as that
    the file ends earlier than it claims. Indexing past the end raises IndexError, so a plain `for` works.
    """

    fps: Fraction | None = None
    notes: tuple[str, ...] = ()
    closed: bool = False

    @property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels, after rotation metadata."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def _read(self, index: int) -> Frame:
        """Frame `index`, 0 <= index < len(self), as an array the caller may change."""

    def _stored(self, index: int) -> VideoFrame | None:
        """What `stored` gives for frame `index`, 0 <= index < len(self)."""
        return None

    def __getitem__(self, index: int) -> Frame:
        """Frame `index` as uint8 RGB (height, width, 3); negative numbers count from the end."""
        return self._read(self._checked(index))

    def stored(self, index: int) -> VideoFrame | None:
        """Frame `index` as it was decoded, where that is what every player shows: 8 bits, 4:2:0, BT.709, limited range,
        upright, the width even and the height a multiple of four, as PyAV needs it.  None where it is not, and for
        sources that are no video files.

        The decoder goes on reading what it gave, so nobody may change it.
        """
        return self._stored(self._checked(index))

    def _checked(self, index: int) -> int:
        frames = len(self)
        wanted = index + frames if index < 0 else index
        if not 0 <= wanted < frames:
            raise IndexError(f"frame {index} is outside the video of {frames} frames")
        if self.closed:
            raise VideoError("the video is closed")
        return wanted

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))

    def close(self) -> None:
        """Let go of open files. Frames can no longer be read afterwards."""
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_frame(frame: Any, name: str, size: tuple[int, int] | None = None) -> Frame:
    """`frame` unchanged if it is uint8 (height, width, 3) of the (width, height) given; else VideoError."""
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        found = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else f"a {type(frame).__name__}"
        raise VideoError(f"{name} must be a uint8 RGB array of shape (height, width, 3), found {found}")
    height, width = frame.shape[:2]
    if height == 0 or width == 0:
        raise VideoError(f"{name} is empty: its shape is {frame.shape}")
    if size is not None and (width, height) != size:
        raise VideoError(f"{name} is {width}x{height}, but the first frame is {size[0]}x{size[1]}")
    return frame
