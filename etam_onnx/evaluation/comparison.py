"""A prediction laid over the truth: what agrees, what is missing, what is too much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..runtime.video import Frame
from .boundary import outline
from .chart import Colour

Mask = NDArray[np.bool_]
AGREES: Colour = (0, 190, 235)
MISSING: Colour = (255, 165, 0)
SURPLUS: Colour = (235, 45, 160)
LEGEND = (("agrees", AGREES), ("missing", MISSING), ("too much", SURPLUS))
TINT = 0.55
STRIP = 22  # height in pixels of a line of text


def compared(
    frame: Frame,
    predicted: Mapping[int, Mask],
    truth: Mapping[int, Mask],
    width: int,
    clicks: Sequence[tuple[float, float, int]] = (),
) -> Image.Image:
    """A frame (H, W, 3) in which pixels are tinted by how the masks (H, W) of all objects compare.

    An object's pixel that another object was given counts as missing. The outline of the truth is white.

    Args:
        width: of the result in pixels; the height follows.
        clicks: (x, y, label) in pixels of the frame, drawn as dots: white on the object, black off it.
    """
    tinted = frame.astype(np.float32)
    agrees, missing, surplus, edge = (np.zeros(frame.shape[:2], np.bool_) for _ in range(4))
    for object_id in {*predicted, *truth}:
        found = predicted.get(object_id, np.zeros_like(agrees))
        wanted = truth.get(object_id, np.zeros_like(agrees))
        agrees |= found & wanted
        missing |= wanted & ~found
        surplus |= found & ~wanted
        edge |= outline(wanted)
    for mask, colour in ((agrees, AGREES), (surplus & ~missing, SURPLUS), (missing, MISSING)):
        tinted[mask] = (1 - TINT) * tinted[mask] + TINT * np.array(colour, np.float32)
    tinted[edge] = 255
    picture = Image.fromarray(tinted.astype(np.uint8))
    scale = width / picture.width
    picture = picture.resize((width, max(1, round(picture.height * scale))), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(picture)
    for x, y, label in clicks:
        x, y = (x + 0.5) * scale, (y + 0.5) * scale
        draw.ellipse((x - 6, y - 6, x + 6, y + 6), fill="black" if label == 1 else "white")
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill="white" if label == 1 else "black")
    return picture


def captioned(picture: Image.Image, caption: str) -> Image.Image:
    """The picture with a line of text above it."""
    framed = Image.new("RGB", (picture.width, picture.height + STRIP), "white")
    framed.paste(picture, (0, STRIP))
    ImageDraw.Draw(framed).text((4, 3), caption, font=ImageFont.load_default(13), fill=(40, 40, 40))
    return framed


def legend(width: int) -> Image.Image:
    """A strip that says what the tints mean."""
    strip = Image.new("RGB", (width, STRIP), "white")
    draw, x = ImageDraw.Draw(strip), 6
    font = ImageFont.load_default(13)
    for name, colour in LEGEND:
        draw.rectangle((x, 5, x + 12, 17), fill=colour)
        draw.text((x + 18, 3), name, font=font, fill=(40, 40, 40))
        x += 18 + int(font.getlength(name)) + 20
    draw.text((x, 3), "white line: the annotation", font=font, fill=(40, 40, 40))
    return strip


def grid(pictures: Sequence[Image.Image], columns: int, gap: int = 8) -> Image.Image:
    """Pictures in rows of `columns`, each row as high as its highest, on white."""
    rows = [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
    heights = [max(picture.height for picture in row) for row in rows]
    cell = max((picture.width for picture in pictures), default=1)
    size = (columns * (cell + gap) - gap, sum(heights) + gap * max(0, len(rows) - 1))
    sheet = Image.new("RGB", (size[0], max(1, size[1])), "white")
    y = 0
    for row, height in zip(rows, heights, strict=True):
        for column, picture in enumerate(row):
            sheet.paste(picture, (column * (cell + gap), y))
        y += height + gap
    return sheet
