"""From a frame to the input `image`: squeezed to a square, RGB 0..255 as float32, (1, 3, S, S).

Two ways, as in the original: video frames by Pillow's bicubic filter on uint8, single images by an antialiased
bilinear filter on floats.  Mean and deviation are not applied here: the graphs do that.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .errors import FrameError
from .resize import resize

Frame = NDArray[np.uint8]
STRIP_PIXELS = 200_000  # a strip of fewer pixels is not worth a thread, which costs 0.1 ms
MOST_STRIPS = 4


def check_frame(frame: Frame, shape: tuple[int, ...] | None = None) -> Frame:
    """A frame must be uint8 RGB (H, W, 3), and of `shape` when given.

    Raises:
        FrameError: it is not.
    """
    if not isinstance(frame, np.ndarray):
        raise FrameError(f"a frame should be a numpy array of uint8 (H, W, 3), found {type(frame).__name__}")
    if frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        raise FrameError(f"a frame should have the shape (H, W, 3), found {frame.shape}")
    if frame.dtype != np.uint8:
        raise FrameError(f"a frame should be uint8, found {frame.dtype}")
    if shape is not None and frame.shape != shape:
        raise FrameError(f"this frame has the shape {frame.shape}, the ones before it had {shape}")
    return frame


def video_input(frame: Frame, size: int) -> NDArray[np.float32]:
    """A video frame as model input: Pillow bicubic (antialiased) on uint8."""
    return _planes(np.asarray(_square(frame, size)))


def image_input(frame: Frame, size: int) -> NDArray[np.float32]:
    """A single image as model input: antialiased bilinear on floats."""
    planes = np.ascontiguousarray(frame.transpose(2, 0, 1), dtype=np.float32)
    return resize(planes, size, size, antialias=True)[None]


def _square(frame: Frame, size: int) -> Image.Image:
    """The frame squeezed to (size, size).

    Pillow filters along the rows first, each by itself, and rounds to uint8 before it filters along the columns.  So
    strips of rows can be narrowed at the same time, on several cores, without changing a value.
    """
    height, width, _ = frame.shape
    strips = min(_cores(), MOST_STRIPS, height * width // STRIP_PIXELS)
    if strips < 2:
        return _resized(frame, size, size)
    edges = [height * strip // strips for strip in range(strips + 1)]
    (_, first), *rest = pairwise(edges)
    narrow = Image.new("RGB", (size, height))
    with ThreadPoolExecutor(strips - 1) as pool:
        others = [pool.submit(_resized, frame[top:bottom], size, bottom - top) for top, bottom in rest]
        narrow.paste(_resized(frame[:first], size, first), (0, 0))
        for (top, _), other in zip(rest, others, strict=True):
            narrow.paste(other.result(), (0, top))
    return narrow.resize((size, size), Image.Resampling.BICUBIC)


def _resized(frame: Frame, width: int, height: int) -> Image.Image:
    return Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)


def _cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _planes(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None], dtype=np.float32)
