"""Line charts drawn with Pillow: percentages over frames or rounds, a colour per line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
# Told apart by most colour-blind people on white.
COLOURS: tuple[Colour, ...] = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (140, 108, 0),
    (86, 140, 200),
    (120, 60, 160),
    (90, 90, 90),
)
INK, GREY, GRID = (40, 40, 40), (110, 110, 110), (226, 226, 226)
SMOOTH = 2  # drawn this much larger and shrunk, for smooth lines
LETTERS = 13
LONGEST_LEGEND = 10


@dataclass(frozen=True)
class Line:
    """A line of a chart: its points in order, ascending in x, y in percent.  colour: which of COLOURS, by number."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int = 0
    dots: bool = False


def line_chart(
    title: str, lines: Sequence[Line], x_label: str, y_label: str, size: tuple[int, int] = (960, 270)
) -> Image.Image:
    """Lines over a grid from 0 to 100 percent, with a legend to the right.

    Args:
        size: (width, height) in pixels.
    """
    canvas = _Canvas(size)
    legend = max((canvas.width_of(line.name) for line in lines), default=0) + 34
    left, top, right, bottom = 52, 34, size[0] - legend - 14, size[1] - 40
    low, high = _limits(lines)

    def at(x: float, y: float) -> tuple[float, float]:
        return left + (x - low) / (high - low) * (right - left), bottom - y / 100 * (bottom - top)

    canvas.text((left, 8), title, INK, LETTERS + 2)
    canvas.text((8, top - 20), y_label, GREY)
    for percent in (0, 25, 50, 75, 100):
        canvas.line([at(low, percent), at(high, percent)], GRID, 1)
        canvas.text((left - 8 - canvas.width_of(str(percent)), at(low, percent)[1] - 8), str(percent), GREY)
    for tick in _ticks(low, high):
        x, y = at(tick, 0)
        canvas.line([(x, y), (x, y + 4)], GREY, 1)
        canvas.text((x - canvas.width_of(f"{tick:g}") / 2, y + 5), f"{tick:g}", GREY)
    canvas.text((right - canvas.width_of(x_label), bottom + 20), x_label, GREY)
    for row, line in enumerate(lines):
        colour = COLOURS[line.colour % len(COLOURS)]
        points = [at(x, y) for x, y in zip(line.x, line.y, strict=True)]
        canvas.line(points, colour, 2)
        for point in points if line.dots or len(points) == 1 else points[:1]:
            canvas.dot(point, colour)
        if row < LONGEST_LEGEND:
            canvas.line([(right + 14, top + 8 + 18 * row), (right + 30, top + 8 + 18 * row)], colour, 3)
            canvas.text((right + 36, top + 18 * row), line.name, INK)
    if len(lines) > LONGEST_LEGEND:
        canvas.text((right + 14, top + 18 * LONGEST_LEGEND), f"and {len(lines) - LONGEST_LEGEND} more", GREY)
    return canvas.finished()


def _limits(lines: Sequence[Line]) -> tuple[float, float]:
    """Smallest and largest x, apart from each other."""
    xs = [x for line in lines for x in line.x] or [0.0]
    return (min(xs), max(xs)) if max(xs) > min(xs) else (min(xs) - 0.5, max(xs) + 0.5)


def _ticks(low: float, high: float, most: int = 10) -> list[float]:
    """Round numbers between two limits."""
    steps = (factor * 10**power for power in range(9) for factor in (1, 2, 5))
    step = next(step for step in steps if (high - low) / step <= most)
    first = -(-low // step) * step
    return [first + step * number for number in range(int((high - first) // step) + 1)]


class _Canvas:
    """A white picture that takes positions in its final pixels."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self.picture = Image.new("RGB", (size[0] * SMOOTH, size[1] * SMOOTH), "white")
        self.draw = ImageDraw.Draw(self.picture)

    def line(self, points: Sequence[tuple[float, float]], colour: Colour, width: int) -> None:
        if len(points) > 1:
            scaled = [(x * SMOOTH, y * SMOOTH) for x, y in points]
            self.draw.line(scaled, fill=colour, width=width * SMOOTH, joint="curve")

    def dot(self, point: tuple[float, float], colour: Colour, radius: float = 4) -> None:
        x, y = point[0] * SMOOTH, point[1] * SMOOTH
        reach = radius * SMOOTH
        self.draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=colour)

    def text(self, corner: tuple[float, float], text: str, colour: Colour, letters: int = LETTERS) -> None:
        font = ImageFont.load_default(letters * SMOOTH)
        self.draw.text((corner[0] * SMOOTH, corner[1] * SMOOTH), text, font=font, fill=colour)

    def width_of(self, text: str, letters: int = LETTERS) -> int:
        return int(ImageFont.load_default(letters * SMOOTH).getlength(text)) // SMOOTH + 1

    def finished(self) -> Image.Image:
        return self.picture.resize(self.size, Image.Resampling.BOX)
