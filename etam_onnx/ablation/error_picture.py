"""The picture of a memory study: error over frames per layer, and where the error sits in one output.

Above, a panel per layer: relative error of the output (logarithmic) over frame numbers, a line per surrogate, the mean
over objects.  Below, as in figures 3 and 7 of the paper: the output of full attention in the last layer on the last
frame, tokens downwards and channels across, and the absolute difference of each surrogate on one common scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .attention_error import Surrogates
from .memory_study import MemoryStudy, outputs

COLOURS = ("#1b6ca8", "#d1495b", "#2e933c", "#e08e1b", "#7a4eab", "#3d3d3d", "#0fa3b1", "#a4532a")
INK, FAINT, PAPER = "#222222", "#d9d9d9", "#ffffff"
RAMP = ((255, 255, 255), (253, 219, 160), (240, 130, 70), (170, 30, 70), (50, 10, 60))
"""From no difference to the largest shown."""
BLUE_RED = ((30, 70, 160), (150, 190, 225), (255, 255, 255), (235, 160, 130), (165, 25, 40))
"""From negative to positive."""

MARGIN, GAP = 24, 26
PANEL = (560, 300)
MAP = (120, 300)
TOKENS_SHOWN = 320
MARKS = 3
"""Marks on each line."""
WIDTH = 2 * PANEL[0] + 2 * MARGIN + GAP


def draw_study(study: MemoryStudy, surrogates: Surrogates) -> Image.Image:
    """The picture of a study, RGB.

    Raises:
        ValueError: nothing was measured, as on a clip of two frames or fewer.
    """
    if not study.rows or study.last is None:
        raise ValueError("no cross-attention read two memories, so there is no error to draw: take more frames")
    layers, names = study.layers, study.surrogates
    panel_rows = math.ceil(len(layers) / 2)
    maps_across = (WIDTH - 2 * MARGIN + GAP) // (MAP[0] + GAP)
    map_rows = math.ceil((1 + len(names)) / maps_across)
    legend = 26 * math.ceil(len(names) / 4)
    height = 60 + legend + panel_rows * (PANEL[1] + 60) + 40 + map_rows * (MAP[1] + 56) + MARGIN
    picture = Image.new("RGB", (WIDTH, height), PAPER)
    draw = ImageDraw.Draw(picture)
    title = "Relative error of the cross-attention's output against full attention, ||full - surrogate|| / ||full||"
    draw.text((MARGIN, 16), title, INK, _font(18))
    for index, name in enumerate(names):
        x, y = MARGIN + index % 4 * (WIDTH - 2 * MARGIN) // 4, 50 + 26 * (index // 4)
        draw.line((x, y + 9, x + 28, y + 9), COLOURS[index % len(COLOURS)], 3)
        draw.text((x + 36, y), f"{name}  {study.mean(name):.3f}", INK, _font(15))
    for index, layer in enumerate(layers):
        left = MARGIN + index % 2 * (PANEL[0] + GAP)
        _panel(draw, study, layer, left, 60 + legend + index // 2 * (PANEL[1] + 60))
    top = 60 + legend + panel_rows * (PANEL[1] + 60)
    exact, differences = outputs(study.last, {name: surrogates[name] for name in names})
    largest = float(np.quantile(np.abs(exact), 0.99))
    caption = (
        f"Layer {layers[-1] + 1}, last frame: first {min(TOKENS_SHOWN, len(exact))} tokens (down) x {exact.shape[1]}"
    )
    caption += f" channels (across); full from -{largest:.2g} (blue) to {largest:.2g} (red), differences from 0 (white)"
    draw.text((MARGIN, top), f"{caption} to {largest:.2g} (dark)", INK, _font(15))
    maps = [("full", _coloured((exact / largest + 1) / 2, BLUE_RED))]
    maps += [(name, _coloured(difference / largest, RAMP)) for name, difference in differences.items()]
    for index, (name, image) in enumerate(maps):
        x = MARGIN + index % maps_across * (MAP[0] + GAP)
        y = top + 34 + index // maps_across * (MAP[1] + 56)
        draw.text((x, y), name, INK, _font(15))
        picture.paste(image, (x, y + 22))
        draw.rectangle((x - 1, y + 21, x + MAP[0], y + 22 + MAP[1]), outline=INK)
    return picture


def _panel(draw: ImageDraw.ImageDraw, study: MemoryStudy, layer: int, left: int, top: int) -> None:
    """Axes and lines of one layer."""
    lines = {name: _over_frames(study, name, layer) for name in study.surrogates}
    frames = sorted({frame for line in lines.values() for frame in line})
    errors = [row.output for row in study.rows if row.output > 0]
    low, high = _ticks_around(min(errors, default=0.1), max(errors, default=1.0))
    x0, y0, x1, y1 = left + 52, top + 24, left + PANEL[0], top + PANEL[1]
    span = max(frames[-1] - frames[0], 1)

    def place(frame: int, error: float) -> tuple[float, float]:
        share = (math.log10(max(error, low)) - math.log10(low)) / (math.log10(high) - math.log10(low))
        return x0 + (frame - frames[0]) / span * (x1 - x0), y1 - share * (y1 - y0)

    draw.text((x0, top), f"layer {layer + 1}", INK, _font(15))
    for tick in _ticks(low, high):
        _, y = place(frames[0], tick)
        draw.line((x0, y, x1, y), FAINT, 1)
        draw.text((x0 - 8, y), f"{tick:g}", INK, _font(13), anchor="rm")
    for frame in _even(frames, 8):
        x, _ = place(frame, high)
        draw.line((x, y1, x, y1 + 5), INK, 1)
        draw.text((x, y1 + 8), str(frame), INK, _font(13), anchor="mt")
    draw.rectangle((x0, y0, x1, y1), outline=INK)
    draw.text(((x0 + x1) / 2, y1 + 26), "frame", INK, _font(13), anchor="mt")
    for index, line in enumerate(lines.values()):
        points = [place(frame, error) for frame, error in sorted(line.items())]
        colour = COLOURS[index % len(COLOURS)]
        if len(points) > 1:
            draw.line(points, colour, 2, joint="curve")
        # Each line has its marks at places of its own, so that all show where errors are equal.
        for turn in range(MARKS):
            x = x0 + (turn + (index + 0.5) / len(lines)) / MARKS * (x1 - x0)
            y = float(np.interp(x, [at for at, _ in points], [height for _, height in points]))
            draw.ellipse((x - 5, y - 5, x + 5, y + 5), colour)


def _over_frames(study: MemoryStudy, surrogate: str, layer: int) -> dict[int, float]:
    """Frame -> error of the output, the mean where there are several objects or clips."""
    found: dict[int, list[float]] = {}
    for row in study.rows:
        if row.surrogate == surrogate and row.layer == layer:
            found.setdefault(row.frame, []).append(row.output)
    return {frame: sum(values) / len(values) for frame, values in found.items()}


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten from `low` to `high`."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    steps = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    return [step for step in steps if low * 0.999 <= step <= high * 1.001]


def _ticks_around(smallest: float, largest: float) -> tuple[float, float]:
    """The ticks that enclose a range."""
    steps = _ticks(smallest / 10, largest * 10)
    low = max(step for step in steps if step <= smallest * 1.001)
    return low, min(step for step in steps if step >= largest * 0.999 and step > low)


def _even(values: Sequence[int], count: int) -> list[int]:
    """At most `count` of the values, evenly spaced."""
    step = math.ceil(len(values) / count)
    return list(values[::step])


def _coloured(share: NDArray[np.floating[Any]], ramp: Sequence[tuple[int, int, int]]) -> Image.Image:
    """A map (N, C) of 0..1 in colours, at the size of a map on the picture."""
    at = np.clip(share[:TOKENS_SHOWN], 0, 1) * (len(ramp) - 1)
    stops = np.asarray(ramp, np.float32)
    channels = [np.interp(at, np.arange(len(ramp)), stops[:, channel]) for channel in range(3)]
    image = Image.fromarray(np.stack(channels, -1).round().astype(np.uint8))
    return image.resize(MAP, Image.Resampling.BOX)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
