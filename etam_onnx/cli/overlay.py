"""Drawing what was tracked onto a frame: a tint, a contour and a number per object, and the user's prompts.

Only the parts of a frame that change are touched, so the time goes with the size of the objects, not of the frame.
What the marks look like stands here; how they get onto a picture, in `canvas`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..runtime.video import Frame
from .canvas import Canvas, Colour, PlanarCanvas, RgbCanvas, Stamp

Picture = TypeVar("Picture", Frame, VideoFrame)
Mask = NDArray[np.bool_]

# Told apart by most colour-blind people and away from the greens, browns and greys of ordinary footage.
COLOURS: tuple[Colour, ...] = (
    (0, 187, 249),
    (255, 190, 11),
    (241, 70, 160),
    (0, 222, 150),
    (155, 93, 229),
    (251, 110, 40),
    (120, 235, 255),
    (230, 60, 60),
    (190, 225, 60),
    (245, 190, 230),
)
TINT = 100  # of 255: how much of the object's colour lies over its pixels
POSITIVE, NEGATIVE = (30, 200, 80), (230, 40, 50)
DARK, LIGHT = (20, 20, 20), (255, 255, 255)
STRIP = 64  # rows of prompts that are drawn at once, which bounds the memory that takes; even
SMOOTH = 4  # small shapes are drawn this much larger and shrunk, for smooth edges


@dataclass(frozen=True)
class Marks:
    """An object's prompts on a frame in pixels: points (x, y), labels 1 or 0, and a box (x0, y0, x1, y1)."""

    points: Sequence[tuple[float, float]] = ()
    labels: Sequence[int] = ()
    box: tuple[float, float, float, float] | None = None


def colour_of(number: int) -> Colour:
    """The colour in which object `number` is drawn; numbers COLOURS apart share one."""
    return COLOURS[(number - 1) % len(COLOURS)]


@dataclass(frozen=True)
class Overlay:
    """Draws on frames of `size` (width, height); line widths and letters grow with the shorter side."""

    size: tuple[int, int]
    stroke: int = field(init=False)
    letters: int = field(init=False)

    def __post_init__(self) -> None:
        shorter = min(self.size)
        object.__setattr__(self, "stroke", max(2, round(shorter / 360)))
        object.__setattr__(self, "letters", max(10, round(shorter / 27)))

    def draw(self, frame: Picture, masks: Mapping[int, Mask], marks: Mapping[int, Marks] | None = None) -> Picture:
        """A copy of `frame` with every object's mask (height, width), by object id.

        An object with an empty mask is reported as lost in the upper left corner.

        Args:
            frame: uint8 RGB (height, width, 3), or a frame as `Video.stored` gives it.
        """
        if isinstance(frame, VideoFrame):
            planes = PlanarCanvas(frame)
            self._draw_on(planes, masks, marks)
            return planes.frame
        picture = RgbCanvas(frame)
        self._draw_on(picture, masks, marks)
        return picture.pixels

    def _draw_on(self, canvas: Canvas, masks: Mapping[int, Mask], marks: Mapping[int, Marks] | None) -> None:
        taken: list[tuple[int, int, int, int]] = []
        boxes = {number: _bounds(mask) for number, mask in masks.items()}
        for number, bounds in boxes.items():
            if bounds is not None:
                self._paint_mask(canvas, masks[number], bounds, colour_of(number))
        if marks:
            layer = Image.new("RGBA", self.size)
            for number, prompt in marks.items():
                self._paint_marks(layer, prompt, colour_of(number))
            for top in range(0, layer.height, STRIP):
                strip = layer.crop((0, top, layer.width, min(top + STRIP, layer.height)))
                if (used := strip.getbbox()) is not None:
                    canvas.stamp(Stamp(strip.crop(used)), used[0], top + used[1])
        for number, bounds in boxes.items():
            if bounds is None:
                gap = 2 * self.stroke
                self._paint_chip(canvas, f"{number} lost", colour_of(number), (gap, gap), taken)
            else:
                self._paint_chip(canvas, str(number), colour_of(number), self._beside(bounds, number), taken)

    def _paint_mask(self, canvas: Canvas, mask: Mask, bounds: tuple[int, int, int, int], colour: Colour) -> None:
        left, top = bounds[0] - bounds[0] % 2, bounds[1] - bounds[1] % 2
        right, bottom = min(bounds[2] + bounds[2] % 2, self.size[0]), min(bounds[3] + bounds[3] % 2, self.size[1])
        inside = mask[top:bottom, left:right]
        core = _eroded(mask, (left, top, right, bottom), self.stroke)
        cover = inside.view(np.uint8) * np.uint8(255) - core.view(np.uint8) * np.uint8(255 - TINT)
        canvas.tint(cover, colour, left, top)

    def _paint_marks(self, layer: Image.Image, marks: Marks, colour: Colour) -> None:
        if marks.box is not None:
            x0, y0, x1, y1 = marks.box
            draw = ImageDraw.Draw(layer)
            draw.rectangle(_grown((x0, y0, x1, y1), self.stroke), outline=DARK, width=3 * self.stroke)
            draw.rectangle((x0, y0, x1, y1), outline=colour, width=self.stroke)
        radius = max(4, round(min(self.size) / 80))
        for (x, y), label in zip(marks.points, marks.labels, strict=True):
            dot = _dot(radius, POSITIVE if label == 1 else NEGATIVE)
            above = Image.new("RGBA", layer.size)
            above.paste(dot, (round(x) - dot.width // 2, round(y) - dot.height // 2))
            layer.alpha_composite(above)

    def _beside(self, bounds: tuple[int, int, int, int], number: int) -> tuple[int, int]:
        """Upper left corner of the number's chip: centred above the object, or just inside its top."""
        chip = _chip(str(number), colour_of(number), self.letters).picture
        left, top, right, _ = bounds
        above = top - chip.height - self.stroke
        return (left + right - chip.width) // 2, above if above >= 0 else top + self.stroke

    def _paint_chip(
        self,
        canvas: Canvas,
        text: str,
        colour: Colour,
        corner: tuple[int, int],
        taken: list[tuple[int, int, int, int]],
    ) -> None:
        """A label at `corner`, moved into the frame and below labels that are `taken` already."""
        stamp = _chip(text, colour, self.letters)
        chip = stamp.picture
        x = min(max(0, corner[0]), max(0, self.size[0] - chip.width))
        y = min(max(0, corner[1]), max(0, self.size[1] - chip.height))
        while any(
            x < right and left < x + chip.width and y < bottom and top < y + chip.height
            for left, top, right, bottom in taken
        ):
            y += self.stroke
        if y + chip.height > self.size[1]:
            y = min(max(0, corner[1]), max(0, self.size[1] - chip.height))
        taken.append((x, y, x + chip.width, y + chip.height))
        canvas.stamp(stamp, x, y)


def _bounds(mask: Mask) -> tuple[int, int, int, int] | None:
    """(left, top, right, bottom) of the true pixels, right and bottom exclusive; None when there is none."""
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return None
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(mask[top:bottom].any(axis=0))
    return int(columns[0]), top, int(columns[-1]) + 1, bottom


def _eroded(mask: Mask, bounds: tuple[int, int, int, int], radius: int) -> Mask:
    """The mask inside its bounds without a rim of `radius` pixels; the edge of the frame is no rim."""
    left, top, right, bottom = bounds
    height, width = mask.shape
    around = mask[max(0, top - radius) : bottom + radius, max(0, left - radius) : right + radius]
    missing = [max(0, radius - top), max(0, bottom + radius - height)]
    missing += [max(0, radius - left), max(0, right + radius - width)]
    padded = around
    if any(missing):
        padded = np.pad(around, (missing[:2], missing[2:]), mode="edge")
    rows, columns = bottom - top, right - left
    upright = padded[radius : radius + rows].copy()
    for step in range(1, radius + 1):
        upright &= padded[radius - step : radius - step + rows]
        upright &= padded[radius + step : radius + step + rows]
    core = upright[:, radius : radius + columns].copy()
    for step in range(1, radius + 1):
        core &= upright[:, radius - step : radius - step + columns]
        core &= upright[:, radius + step : radius + step + columns]
    return core


def _grown(box: tuple[float, float, float, float], by: int) -> tuple[float, float, float, float]:
    return box[0] - by, box[1] - by, box[2] + by, box[3] + by


def _smooth(width: int, height: int, paint: Callable[[ImageDraw.ImageDraw], None]) -> Image.Image:
    """An RGBA picture of (width, height), painted SMOOTH times larger."""
    large = Image.new("RGBA", (width * SMOOTH, height * SMOOTH))
    paint(ImageDraw.Draw(large))
    return large.resize((width, height), Image.Resampling.BOX)


@lru_cache(maxsize=16)
def _dot(radius: int, colour: Colour) -> Image.Image:
    """A filled circle in a white ring, `radius` including the ring."""
    side = (2 * radius + 1) * SMOOTH
    ring = max(2, radius // 3) * SMOOTH

    def paint(draw: ImageDraw.ImageDraw) -> None:
        draw.ellipse((0, 0, side - 1, side - 1), fill=LIGHT)
        draw.ellipse((ring, ring, side - 1 - ring, side - 1 - ring), fill=colour)

    return _smooth(2 * radius + 1, 2 * radius + 1, paint)


@lru_cache(maxsize=512)
def _chip(text: str, colour: Colour, letters: int) -> Stamp:
    """Text on a rounded plate of the object's colour with a dark rim."""
    font = ImageFont.load_default(letters * SMOOTH)
    left, top, right, bottom = font.getbbox(text)
    inset = letters * SMOOTH // 3
    width = int(right - left + 2 * inset) // SMOOTH + 1
    height = int(letters * 1.25)
    bright = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140

    def paint(draw: ImageDraw.ImageDraw) -> None:
        edge = (width * SMOOTH - 1, height * SMOOTH - 1)
        draw.rounded_rectangle((0, 0, *edge), radius=inset, fill=colour, outline=DARK, width=SMOOTH)
        middle = (edge[0] - (left + right)) / 2, (edge[1] - (top + bottom)) / 2
        draw.text(middle, text, font=font, fill=DARK if bright else LIGHT)

    return Stamp(_smooth(width, height, paint))
