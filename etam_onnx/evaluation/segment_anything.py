"""Segment anything on pictures (SAM, section 7.1): how good is the mask after one click, and after five?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .prompts import Click, click_inside, corrective_click
from .region import region_similarity
from .sequences import Annotation

if TYPE_CHECKING:
    from .. import ImagePredictor
    from ..runtime.video import Frame

Mask = NDArray[np.bool_]
MOST_CLICKS = 5


@dataclass(frozen=True)
class ClickedObject:
    """One object of a picture.

    Attributes:
        iou: percent after 1, 2, ... clicks; repeated where nothing was left to correct.
        oracle: percent of the best of the three masks after the first click, whatever the model thought of them.
        clicks: those that were given.
        first: the mask (H, W) chosen after the first click.
    """

    iou: tuple[float, ...]
    oracle: float
    clicks: tuple[Click, ...]
    first: Mask


def click_picture(
    predictor: ImagePredictor, picture: Frame, annotation: Annotation, most_clicks: int = MOST_CLICKS
) -> Iterator[tuple[int, ClickedObject]]:
    """(object number, what came of its clicks) for every object of a picture.

    The first click goes deep inside the object and may mean several things, so of three masks the one with the
    highest predicted IoU is taken. Every further click corrects the mask before, whose logits are given along,
    and gets a single mask.

    Args:
        picture: uint8 RGB (H, W, 3).
        annotation: masks (H, W); pixels that are left out are taken out of every mask and never clicked.
    """
    predictor.set_image(picture)
    for number, truth in annotation.masks.items():
        yield number, _click_object(predictor, truth, annotation.void, most_clicks)


def _click_object(predictor: ImagePredictor, truth: Mask, void: Mask | None, most_clicks: int) -> ClickedObject:
    inside = np.True_ if void is None else ~void

    def iou(mask: Mask) -> float:
        return 100 * region_similarity(mask & inside, truth)

    clicks = [Click(*click_inside(truth), 1)]
    masks, predicted, low_res = _predict(predictor, clicks, None)
    best = int(np.argmax(predicted))
    first = current = masks[best]
    scores, oracle, logits = [iou(current)], max(map(iou, masks)), low_res[best]
    while len(scores) < most_clicks:
        click = corrective_click(current, truth, void)
        if click is None:
            break
        clicks.append(click)
        masks, _, low_res = _predict(predictor, clicks, logits)
        current, logits = masks[0], low_res[0]
        scores.append(iou(current))
    scores += scores[-1:] * (most_clicks - len(scores))
    return ClickedObject(tuple(scores), oracle, tuple(clicks), first)


def _predict(
    predictor: ImagePredictor, clicks: list[Click], logits: NDArray[np.float32] | None
) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.float32]]:
    masks, predicted, low_res = predictor.predict(
        point_coords=np.array([click[:2] for click in clicks], np.float32),
        point_labels=np.array([click.label for click in clicks], np.int32),
        mask_input=logits,
        multimask_output=logits is None,
    )
    return masks.astype(np.bool_, copy=False), predicted, low_res
