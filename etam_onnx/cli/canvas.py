"""Two kinds of pictures that can be drawn on: RGB arrays, and frames as video stores them.

A decoded frame that is drawn on and encoded again without becoming RGB in between loses nothing where nothing is drawn,
and saves the conversion, which costs as much as encoding does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image

from ..runtime.video import Frame

Colour = tuple[int, int, int]
Plane = NDArray[np.uint8]
PlanarStamp = tuple[list[Image.Image], list[Image.Image]]
PLANAR = "yuv420p"


class Stamp:
    """A small picture with transparency, RGBA, that is drawn in many places."""

    def __init__(self, picture: Image.Image) -> None:
        self.picture = picture
        self._planar: dict[tuple[int, int], PlanarStamp] = {}

    def planar(self, right: int, down: int) -> PlanarStamp:
        """Pictures and masks for luma and the two colour differences, where the picture is 0 or 1 pixels right of and
        below the corner of a cell of 2 by 2 pixels.
        """
        if (right, down) not in self._planar:
            self._planar[right, down] = _planar_stamp(self.picture, right, down)
        return self._planar[right, down]


class Canvas(ABC):
    """A picture that is being drawn on.  Positions are of the upper left corner, in pixels."""

    @abstractmethod
    def tint(self, cover: Plane, colour: Colour, left: int, top: int) -> None:
        """Lay a colour over the pixels, covering cover / 255 of them.

        Args:
            cover: (height, width).
            left, top: even.
        """

    @abstractmethod
    def stamp(self, stamp: Stamp, left: int, top: int) -> None:
        """Lay a picture over the pixels; what reaches beyond the right and lower edges is left out."""


class RgbCanvas(Canvas):
    """Draws on a copy of an RGB array (height, width, 3), `pixels`."""

    def __init__(self, frame: Frame) -> None:
        self.pixels = frame.copy()

    def tint(self, cover: Plane, colour: Colour, left: int, top: int) -> None:
        """See `Canvas`."""
        height, width = cover.shape
        _paste(self.pixels[top : top + height, left : left + width], colour, Image.fromarray(cover))

    def stamp(self, stamp: Stamp, left: int, top: int) -> None:
        """See `Canvas`."""
        width, height = stamp.picture.size
        _paste(self.pixels[top : top + height, left : left + width], stamp.picture, stamp.picture)


class PlanarCanvas(Canvas):
    """Draws on a copy of a frame as `Video.stored` gives it: 4:2:0, BT.709, limited range."""

    def __init__(self, frame: VideoFrame) -> None:
        self._pixels: Plane = frame.to_ndarray()
        width, height = frame.width, frame.height
        luma, blue, red = np.split(self._pixels.reshape(-1), [width * height, width * height * 5 // 4])
        half = height // 2, width // 2
        self._planes = luma.reshape(height, width), blue.reshape(half), red.reshape(half)

    @property
    def frame(self) -> VideoFrame:
        """The frame as it is now, without time or type; it shares its pixels with the canvas."""
        return VideoFrame.from_numpy_buffer(self._pixels, format=PLANAR)

    def tint(self, cover: Plane, colour: Colour, left: int, top: int) -> None:
        """See `Canvas`."""
        whole = Image.fromarray(cover)
        values = planar(np.array(colour)).tolist()
        self._lay(left, top, values, [whole, half := whole.reduce(2), half])

    def stamp(self, stamp: Stamp, left: int, top: int) -> None:
        """See `Canvas`."""
        right, down = left % 2, top % 2
        self._lay(left - right, top - down, *stamp.planar(right, down))

    def _lay(self, left: int, top: int, what: Sequence[Image.Image | int], masks: Sequence[Image.Image]) -> None:
        for plane, cell, part, mask in zip(self._planes, (1, 2, 2), what, masks, strict=True):
            x, y = left // cell, top // cell
            _paste(plane[y : y + mask.height, x : x + mask.width], part, mask)


def planar(colours: NDArray[np.integer]) -> Plane:
    """RGB (..., 3), 0..255 -> luma 16..235, blue and red difference 16..240 (..., 3) of ITU-R BT.709."""
    red, green, blue = np.moveaxis(np.asarray(colours, np.float64), -1, 0) / 255
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    stacked = np.stack((16 + 219 * luma, 128 + 224 * (blue - luma) / 1.8556, 128 + 224 * (red - luma) / 1.5748), -1)
    return np.rint(stacked).astype(np.uint8)


def _planar_stamp(picture: Image.Image, right: int, down: int) -> PlanarStamp:
    width, height = picture.size
    moved = Image.new("RGBA", (right + width + (right + width) % 2, down + height + (down + height) % 2))
    moved.paste(picture, (right, down))
    pixels = np.asarray(moved)
    values, alpha = planar(pixels[..., :3]), pixels[..., 3].astype(np.float64)
    cells = alpha.shape[0] // 2, 2, alpha.shape[1] // 2, 2
    cover = alpha.reshape(cells).sum((1, 3))
    blue, red = ((values[..., n] * alpha).reshape(cells).sum((1, 3)) / np.maximum(cover, 1) for n in (1, 2))
    pictures, masks = (values[..., 0], blue, red), (alpha, cover / 4, cover / 4)
    return [_grey(plane) for plane in pictures], [_grey(plane) for plane in masks]


def _grey(plane: NDArray[np.floating] | Plane) -> Image.Image:
    return Image.fromarray(np.rint(plane).astype(np.uint8))


def _paste(part: Plane, what: Image.Image | Colour | int, mask: Image.Image) -> None:
    """Lay a picture or a colour over pixels (height, width) or (height, width, 3) through a mask."""
    if part.size == 0:
        return
    picture = Image.fromarray(part)
    picture.paste(what, None, mask)
    part[:] = np.asarray(picture)
