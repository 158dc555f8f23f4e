"""What the user points at: clicks, boxes and masks on the command line, gathered by object."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HELP = """Each prompt makes an object of its own, numbered from 1 in the order given. To give one object
several prompts, put its number and a colon in front: --point 1:410,220 --not-point 1:500,180."""
MANY_VALUES = 64  # more grey values than this are a photograph or a smooth mask, not object numbers


@dataclass
class ObjectPrompt:
    """One object's prompts on one frame, in pixels (x, y) from the upper left corner.

    `labels` has 1 for a point on the object and 0 for one off it; `box` is (x0, y0, x1, y1); `mask` is
    boolean (height, width) and comes alone.
    """

    points: list[tuple[float, float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    box: tuple[float, float, float, float] | None = None
    mask: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Given:
    """One option as it was typed: its name, the object's number if there is one, and the rest of the text."""

    option: str
    number: int | None
    text: str


class _Gather(argparse.Action):
    """Collects prompts of all kinds in the order they are typed."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        given = [*getattr(namespace, self.dest), split_number(self.option_strings[0], values)]
        setattr(namespace, self.dest, given)


def add_prompt_options(parser: argparse.ArgumentParser, masks: bool) -> None:
    """Options that fill `prompts`, a list of `Given`."""
    group = parser.add_argument_group("prompts", HELP)
    settings: dict[str, Any] = {"action": _Gather, "dest": "prompts", "default": []}
    group.add_argument("--point", metavar="[N:]X,Y", help="a point on the object, in pixels", **settings)
    group.add_argument("--not-point", metavar="[N:]X,Y", help="a point that is not on the object", **settings)
    group.add_argument("--box", metavar="[N:]X0,Y0,X1,Y1", help="a box around the object", **settings)
    if masks:
        group.add_argument(
            "--mask",
            metavar="[N:]FILE",
            help="a PNG of the video's size; each value but 0 is an object of that number (a black and white "
            "picture is one object)",
            **settings,
        )


def split_number(option: str, text: str) -> Given:
    """`3:120,80` -> object 3 and `120,80`."""
    match = re.match(r"(\d+):", text)
    return Given(option, int(match[1]), text[match.end() :]) if match else Given(option, None, text)


def read_prompts(given: Sequence[Given], size: tuple[int, int]) -> dict[int, ObjectPrompt]:
    """Prompts by object number, checked against a frame of `size` (width, height).

    Raises ValueError, in one sentence that names the option, for text that is not numbers, a place outside
    the frame, a mask of another size, or prompts that do not go together.
    """
    if not given:
        raise ValueError("nothing to look for: give at least one --point X,Y or --box X0,Y0,X1,Y1")
    objects: dict[int, ObjectPrompt] = {}
    numbered = [item for item in given if item.number is not None]
    # A negative point only refers to an object, so it claims no number.
    taken = {item.number for item in numbered if item.option != "--not-point" and item.number is not None}
    if any(item.number == 0 for item in numbered):
        raise ValueError("object numbers start at 1; 0 is the background")
    masks = {i: read_masks(item, size) for i, item in enumerate(given) if item.option == "--mask"}
    taken |= {number for found in masks.values() for number in found if number is not None}
    negatives: list[Given] = []
    for i, item in enumerate(given):
        if item.option == "--not-point":
            negatives.append(item)
            continue
        if item.option == "--mask":
            for number, mask in masks[i].items():
                _add_mask(objects, _next(taken) if number is None else number, mask)
            continue
        prompt = objects.setdefault(_next(taken) if item.number is None else item.number, ObjectPrompt())
        if item.option == "--box":
            _add_box(prompt, item, size)
        else:
            prompt.points.append(_place(item, size))
            prompt.labels.append(1)
    for item in negatives:
        _add_negative(objects, item, size)
    for number, prompt in objects.items():
        if prompt.mask is not None and (prompt.points or prompt.box is not None):
            raise ValueError(f"object {number} has a mask and other prompts; a mask stands alone")
    return objects


def read_masks(given: Given, size: tuple[int, int]) -> dict[int | None, NDArray[np.bool_]]:
    """Masks (height, width) in a picture file by object number; None stands for an object without a number.

    A palette or greyscale picture has one object per value but 0. A picture with no values but black and
    white is one object, and so is any picture for which the option gives a number.
    """
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    path = Path(given.text)
    try:
        with Image.open(path) as picture:
            if picture.mode not in ("1", "L", "P", "I", "I;16"):
                raise ValueError(f"--mask {path} is a {picture.mode} picture; it should be a palette or greyscale PNG")
            values = np.array(picture)
            indexed = picture.mode == "P"
    except FileNotFoundError:
        raise FileNotFoundError(f"--mask: there is no file {path}") from None
    except UnidentifiedImageError:
        raise ValueError(f"--mask {path} is not a picture") from None
    height, width = values.shape
    if (width, height) != size:
        raise ValueError(f"--mask {path} is {width}x{height}, but the frames are {size[0]}x{size[1]}")
    numbers = [int(value) for value in np.unique(values) if value != 0]
    if not numbers:
        raise ValueError(f"--mask {path} is empty: all of it is 0")
    if given.number is not None:
        return {given.number: values != 0}
    if numbers == [1 if values.dtype == bool else 255] and not indexed:
        return {None: values != 0}
    if len(numbers) > MANY_VALUES:
        raise ValueError(f"--mask {path} has {len(numbers)} different values, too many to be object numbers")
    return {number: values == number for number in numbers}


def _next(taken: set[int]) -> int:
    """The smallest number that is free, which is then taken."""
    number = 1
    while number in taken:
        number += 1
    taken.add(number)
    return number


def _numbers(given: Given, count: int, form: str) -> list[float]:
    parts = given.text.split(",")
    try:
        values = [float(part) for part in parts]
        if len(values) != count or not all(abs(value) < 1e6 for value in values):
            raise ValueError
    except ValueError:
        raise ValueError(f"{given.option} takes {form}, found {given.text!r}") from None
    return values


def _place(given: Given, size: tuple[int, int]) -> tuple[float, float]:
    x, y = _numbers(given, 2, "X,Y in pixels")
    if not (0 <= x < size[0] and 0 <= y < size[1]):
        raise ValueError(f"{given.option} {x:g},{y:g} is outside the frame of {size[0]}x{size[1]} pixels")
    return x, y


def _add_box(prompt: ObjectPrompt, given: Given, size: tuple[int, int]) -> None:
    x0, y0, x1, y1 = _numbers(given, 4, "X0,Y0,X1,Y1 in pixels")
    if not (x0 < x1 and y0 < y1):
        raise ValueError(f"--box {given.text} should have X0 < X1 and Y0 < Y1")
    if x0 < 0 or y0 < 0 or x1 > size[0] or y1 > size[1]:
        raise ValueError(f"--box {given.text} reaches outside the frame of {size[0]}x{size[1]} pixels")
    if prompt.box is not None:
        raise ValueError(f"object {given.number} has two boxes; give each object one")
    prompt.box = (x0, y0, x1, y1)


def _add_mask(objects: dict[int, ObjectPrompt], number: int, mask: NDArray[np.bool_]) -> None:
    prompt = objects.setdefault(number, ObjectPrompt())
    if prompt.mask is not None:
        raise ValueError(f"object {number} has two masks; give each object one")
    prompt.mask = mask


def _add_negative(objects: dict[int, ObjectPrompt], given: Given, size: tuple[int, int]) -> None:
    number = given.number
    if number is None:
        if len(objects) != 1:
            raise ValueError(f"--not-point {given.text} should name one of several objects, as in 1:{given.text}")
        (number,) = objects
    if number not in objects:
        raise ValueError(f"object {number} has only a --not-point; give it a --point or a --box as well")
    objects[number].points.append(_place(given, size))
    objects[number].labels.append(0)
