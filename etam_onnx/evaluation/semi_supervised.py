"""Semi-supervised video object segmentation: each object is prompted once, on its first frame, the rest is tracked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from .overlaps import Ownership
from .prompts import CLICKS, Click, Prompt, box_around, click_inside, corrective_click
from .sequences import AnnotatedSequence

if TYPE_CHECKING:
    from .. import VideoPredictor
    from ..runtime.video import Frame

    FrameSource = Sequence[Frame]

Mask = NDArray[np.bool_]


def track_sequence(
    predictor: VideoPredictor, sequence: AnnotatedSequence, prompt: Prompt = "mask"
) -> Iterator[Mapping[int, Mask]]:
    """Object id -> mask (H, W) on every frame in order, from prompts made of each object's first annotation.

    All objects are tracked in one pass; one that appears later joins on its frame. Where masks meet the
    highest logit wins, unless the data set lets objects overlap.

    Args:
        predictor: yields frame number, object ids and logits (N, 1, H, W), positive inside an object.
        sequence: frames and masks; only an object's first mask is looked at.
        prompt: give the mask itself, its tight box, or clicks: one deep inside it, then corrective ones.

    Raises:
        ValueError: the annotations show no object, or are not as large as the frames.
    """
    first = sequence.first_masks()
    start = min(first)
    state = predictor.init_state(cast("FrameSource", sequence.frames))
    _prompt_objects(predictor, state, start, first[start], prompt)
    yield from ({} for _ in range(start))
    for frame, ids, logits_n1hw in predictor.propagate_in_video(state, start_frame_idx=start):
        if frame + 1 in first:
            _prompt_objects(predictor, state, frame + 1, first[frame + 1], prompt)
        yield separate(ids, logits_n1hw[:, 0], sequence.overlapping)


def separate(ids: list[int], logits_nhw: NDArray[np.float32], overlapping: bool = False) -> dict[int, Mask]:
    """Object id -> mask (H, W) from logits (N, H, W); unless `overlapping`, a pixel goes to the highest logit."""
    if overlapping or len(ids) == 1:
        return {object_id: logits > 0 for object_id, logits in zip(ids, logits_nhw, strict=True)}
    owner = Ownership((logits_nhw.shape[1], logits_nhw.shape[2]))
    owner.add(range(1, len(ids) + 1), logits_nhw)
    return {object_id: owner.labels == row for row, object_id in enumerate(ids, 1)}


def click_object(
    predictor: VideoPredictor,
    state: Any,
    frame: int,
    object_id: int,
    truth: Mask,
    count: int,
    *,
    before: Mask | None = None,
    void: Mask | None = None,
) -> list[Click]:
    """Give an object up to `count` clicks on a frame, each correcting the answer to the ones before.

    Args:
        truth: the annotated mask (H, W).
        before: what is predicted there now; without it the first click goes deep inside the truth.
        void: pixels that are never clicked.

    Returns:
        The clicks given; fewer than `count` if the prediction became perfect.
    """
    clicks: list[Click] = []
    current = before
    while len(clicks) < count:
        if current is None:
            click: Click | None = Click(*click_inside(truth), 1)
        else:
            click = corrective_click(current, truth, void)
        if click is None:
            break
        _, ids, logits_n1hw = predictor.add_new_points_or_box(
            state,
            frame,
            object_id,
            points=np.array([click[:2]], np.float32),
            labels=np.array([click.label], np.int32),
            clear_old_points=False,
        )
        current = logits_n1hw[ids.index(object_id), 0] > 0
        clicks.append(click)
    return clicks


def _prompt_objects(
    predictor: VideoPredictor, state: Any, frame: int, masks: Mapping[int, Mask], prompt: Prompt
) -> None:
    for object_id, mask in masks.items():
        if prompt == "mask":
            predictor.add_new_mask(state, frame, object_id, mask)
        elif prompt == "box":
            predictor.add_new_points_or_box(state, frame, object_id, box=np.array(box_around(mask), np.float32))
        else:
            click_object(predictor, state, frame, object_id, mask, CLICKS[prompt])
