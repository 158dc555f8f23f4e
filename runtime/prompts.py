"""Prompts: checked in the user's frame, moved to the model's, written into the decoder's ports."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..graphs.contract import LABELS, Geometry
from .errors import PromptError
from .resize import resize

BOX_LABELS = (2, 3)
PADDING_LABEL = -1


@dataclass(frozen=True)
class Points:
    """Clicks and box corners in pixels of the square model input: `xy` (T, 2) float32, `labels` (T,) int."""

    xy: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def __add__(self, other: Points) -> Points:
        return Points(np.concatenate((self.xy, other.xy)), np.concatenate((self.labels, other.labels)))


NO_POINTS = Points(np.zeros((0, 2), np.float32), np.zeros(0, np.int64))


def read_integer(value: SupportsIndex, what: str) -> int:
    """A number of any integer type as a plain integer; PromptError for anything else, floats included."""
    try:
        return int(operator.index(value))
    except TypeError as error:
        raise PromptError(f"{what} should be an integer, found {value!r}") from error


def read_object_id(object_id: SupportsIndex) -> int:
    """An object's id as a plain integer.

    Raises:
        PromptError: it is not an integer, or one of more than 64 bits.
    """
    number = read_integer(object_id, "an object id")
    if not -(2**63) <= number < 2**63:
        raise PromptError(f"an object id should fit in 64 bits, found {number}")
    return number


def _numbers(values: ArrayLike, what: str) -> NDArray[np.float64]:
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise PromptError(f"{what} should be numbers, found {values!r}") from error
    if not np.isfinite(array).all():
        raise PromptError(f"{what} should be finite numbers, found NaN or infinity")
    return array


def _inside(xy: NDArray[np.float64], width: float, height: float, what: str) -> None:
    outside = (xy < 0).any(1) | (xy[:, 0] > width) | (xy[:, 1] > height)
    if outside.any():
        x, y = xy[int(np.argmax(outside))]
        raise PromptError(f"{what} ({x:g}, {y:g}) lies outside the frame of {width:g} x {height:g} pixels")


def read_points(
    points: ArrayLike | None,
    labels: ArrayLike | None,
    box: ArrayLike | None,
    width: int,
    height: int,
    size: int,
    normalized: bool = False,
) -> Points:
    """Check points, labels and box, and move them to the square of side `size`.

    Args:
        points: (T, 2) or (2,), pixels (x, y) of the frame, or fractions of it with `normalized`.
        labels: (T,): 1 positive, 0 negative; 2 and 3 are box corners.
        box: (4,) as x0, y0, x1, y1 in the same unit; it precedes the points.
        width, height: size of the frame in pixels.
        size: side of the model input in pixels.

    Raises:
        PromptError: points without labels or the other way round, wrong shapes, unknown labels, anything outside
            the frame.
    """
    if (points is None) != (labels is None):
        raise PromptError("points and labels must be given together")
    limits = (1.0, 1.0) if normalized else (float(width), float(height))
    found = NO_POINTS
    if box is not None:
        corners = _numbers(box, "a box")
        if corners.size != 4:
            raise PromptError(f"a box should be four numbers x0, y0, x1, y1, found the shape {corners.shape}")
        corners = corners.reshape(2, 2)
        _inside(corners, *limits, "the box corner")
        if (corners[0] >= corners[1]).any():
            raise PromptError(f"a box needs x0 < x1 and y0 < y1, found {corners.reshape(-1).tolist()}")
        found = Points(corners.astype(np.float32), np.asarray(BOX_LABELS, np.int64))
    if points is not None and labels is not None:
        xy = _numbers(points, "points")
        xy = xy.reshape(-1, 2) if xy.size == 0 or xy.shape == (2,) else xy
        kinds = _numbers(labels, "labels").reshape(-1)
        if xy.ndim != 2 or xy.shape[1] != 2:
            raise PromptError(f"points should have the shape (T, 2), found {xy.shape}")
        if len(xy) != len(kinds):
            raise PromptError(f"{len(xy)} points need as many labels, found {len(kinds)}")
        if not np.isin(kinds, LABELS).all():
            raise PromptError(f"labels should be among {LABELS}, found {kinds.tolist()}")
        _inside(xy[kinds != PADDING_LABEL], *limits, "the point")
        found = found + Points(xy.astype(np.float32), kinds.astype(np.int64))
    scale = np.asarray(limits, np.float32)
    return Points(found.xy / scale * np.float32(size), found.labels)


def point_ports(points: Points, geometry: Geometry) -> dict[str, NDArray[np.float32]]:
    """The ports `points` and `point_label` of the decoder; slots after the last point stay unused.

    Raises:
        PromptError: more points than the decoder has slots.
    """
    if len(points) > geometry.prompt_slots:
        raise PromptError(
            f"this bundle takes at most {geometry.prompt_slots - 1} points on a frame (a box counts as two), "
            f"found {len(points) - 1}"
        )
    xy = np.zeros((1, geometry.prompt_slots, 2), np.float32)
    label = np.zeros((1, geometry.prompt_slots, len(LABELS)), np.float32)
    xy[0, : len(points)] = points.xy
    for slot, kind in enumerate(points.labels):
        label[0, slot, LABELS.index(int(kind))] = 1
    return {"points": xy, "point_label": label}


def padded(points: Points) -> Points:
    """Points followed by the padding point; without points, two of them (as the original's video path)."""
    padding = Points(np.zeros((1, 2), np.float32), np.asarray([PADDING_LABEL], np.int64))
    return (points if len(points) else padding) + padding


def read_mask(mask: ArrayLike, width: int, height: int, size: int) -> NDArray[np.float32]:
    """A mask of the frame as 0/1 at the model's size: antialiased bilinear, threshold 0.5.

    Args:
        mask: (H, W) boolean or numeric, non-zero inside.

    Raises:
        PromptError: another shape than the frame, or not numbers.
    """
    try:
        array = np.asarray(mask)
    except ValueError as error:
        raise PromptError("a mask should be an array (H, W), found rows of different lengths") from error
    if array.shape != (height, width):
        raise PromptError(f"the mask has the shape {array.shape}, the frame is (H, W) = {(height, width)}")
    if array.dtype.kind not in "biuf":
        raise PromptError(f"a mask should be boolean or numeric, found {array.dtype}")
    if not np.isfinite(array).all():
        raise PromptError("a mask should be finite, found NaN or infinity")
    binary: NDArray[np.float32] = (array != 0).astype(np.float32)
    if (height, width) == (size, size):
        return binary
    inside: NDArray[np.bool_] = resize(binary, size, size, antialias=True) >= 0.5
    return inside.astype(np.float32)


def read_mask_logits(mask_input: ArrayLike, side: int) -> NDArray[np.float32]:
    """Logits of an earlier mask as (side, side).

    Raises:
        PromptError: another shape than (side, side) or (1, side, side), or not finite numbers.
    """
    logits = _numbers(mask_input, "mask_input").astype(np.float32)
    if logits.shape not in ((side, side), (1, side, side)):
        raise PromptError(f"mask_input should have the shape (1, {side}, {side}), found {logits.shape}")
    return logits.reshape(side, side)
