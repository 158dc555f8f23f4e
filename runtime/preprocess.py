"""From a frame to the input `image`: squeezed to a square, RGB 0..255 as float32, (1, 3, S, S).

Two ways, as in the original: video frames by Pillow's bicubic filter on uint8, single images by an antialiased
bilinear filter on floats.  Mean and deviation are not applied here: the graphs do that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .errors import FrameError
from .resize import resize
from .squeeze import squeezed

Frame = NDArray[np.uint8]


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
    return squeezed(frame, size)


def image_input(frame: Frame, size: int) -> NDArray[np.float32]:
    """A single image as model input: antialiased bilinear on floats."""
    planes = np.ascontiguousarray(frame.transpose(2, 0, 1), dtype=np.float32)
    return resize(planes, size, size, antialias=True)[None]
