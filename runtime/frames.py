"""Opening a video, whatever it comes as: a file, a folder of pictures, or arrays in memory."""

import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from .video import Frame, Video, VideoError, check_frame
from .video_file import VideoFile

PICTURES = (".jpg", ".jpeg", ".png")
ORIENTATION = 0x0112  # the EXIF tag; 5 to 8 swap width and height


def open_video(source: Any) -> Video:
    """A `Video` from a path (video file, or folder of JPEG or PNG frames) or a sequence of frames.

    A sequence is anything with `len()` and `[i]` that gives uint8 RGB arrays (height, width, 3): a list, an
    array (frames, height, width, 3), a lazy source of one's own. A `Video` is returned as it is.
    Raises FileNotFoundError for a missing path and VideoError for anything that is not a usable video.
    """
    if isinstance(source, Video):
        return source
    if isinstance(source, str | Path):
        path = Path(source)
        if not path.exists():
            raise FileNotFoundError(f"there is no file or folder {path}")
        return FrameFolder(path) if path.is_dir() else VideoFile(path)
    if hasattr(source, "__len__") and hasattr(source, "__getitem__"):
        return FrameSequence(source)
    raise VideoError(f"a video is a path or a sequence of frames, not a {type(source).__name__}")


def read_picture(path: str | Path) -> Frame:
    """One picture file as uint8 RGB (height, width, 3), turned upright by its EXIF orientation."""
    try:
        with Image.open(path) as picture:
            upright = ImageOps.exif_transpose(picture)
            if upright.mode.startswith("I") or upright.mode == "F":
                raise VideoError(f"{path} has more than 8 bits per channel; convert it to 8 bits first")
            return np.array(upright.convert("RGB"))
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}") from None
    except (OSError, SyntaxError) as error:
        raise _unreadable(path, error) from None


class FrameFolder(Video):
    """A folder of JPEG or PNG frames, in the order of the numbers in their names (2.jpg before 10.jpg)."""

    def __init__(self, folder: str | Path, fps: Fraction | None = None) -> None:
        """Reads every picture's header, to find frames of different sizes before any work is done."""
        self.folder = Path(folder)
        self.fps = fps
        self.paths = sorted(
            (path for path in self.folder.iterdir() if _is_picture(path)),
            key=lambda path: natural_key(path.name),
        )
        if not self.paths:
            raise VideoError(f"the folder {self.folder} holds no JPEG or PNG frames")
        seen: dict[str, Path] = {}
        for path in self.paths:
            if (other := seen.setdefault(path.stem, path)) is not path:
                raise VideoError(
                    f"the folder {self.folder} holds frame {path.stem} twice: {other.name} and {path.name}"
                )
        self._latest: tuple[int, Frame] | None = None
        self._size = _picture_size(self.paths[0])
        for path in self.paths[1:]:
            size = _picture_size(path)
            if size != self._size:
                first = f"{self.paths[0].name} is {self._size[0]}x{self._size[1]}"
                raise VideoError(
                    f"{path} is {size[0]}x{size[1]}, but {first}; all frames of a folder must have one size"
                )

    @property
    def size(self) -> tuple[int, int]:
        return self._size

    def __len__(self) -> int:
        return len(self.paths)

    def _read(self, index: int) -> Frame:
        # The tracker and the overlay ask for the same frame in turn; reading it once is enough.
        if self._latest is None or self._latest[0] != index:
            frame = check_frame(read_picture(self.paths[index]), str(self.paths[index]), self._size)
            self._latest = (index, frame)
        return self._latest[1].copy()


class FrameSequence(Video):
    """Frames someone else holds; each is checked when it is read, a list or an array at once."""

    def __init__(self, frames: Sequence[Frame], fps: Fraction | None = None) -> None:
        if len(frames) == 0:
            raise VideoError("the sequence of frames is empty")
        self.frames = frames
        self.fps = fps
        first = check_frame(frames[0], "frame 0")
        self._size = (first.shape[1], first.shape[0])
        if isinstance(frames, list | tuple):
            for index in range(1, len(frames)):
                check_frame(frames[index], f"frame {index}", self._size)

    @property
    def size(self) -> tuple[int, int]:
        return self._size

    def __len__(self) -> int:
        return len(self.frames)

    def _read(self, index: int) -> Frame:
        return check_frame(self.frames[index], f"frame {index}", self._size).copy()


def natural_key(name: str) -> tuple[list[tuple[int, str]], str]:
    """A sorting key that orders the numbers inside names by value."""
    parts = re.split(r"(\d+)", name.lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], name


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURES and not path.name.startswith(".") and path.is_file()


def _picture_size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            return (height, width) if picture.getexif().get(ORIENTATION, 1) >= 5 else (width, height)
    except (OSError, SyntaxError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: str | Path, error: Exception) -> VideoError:
    reason = "it is not a picture" if isinstance(error, UnidentifiedImageError) else str(error)
    return VideoError(f"cannot read {path}: {reason}")
