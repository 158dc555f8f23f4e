"""Semi-supervised video object segmentation: each object's first mask is given, the rest is tracked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from .label_maps import LabelMap
from .overlaps import Ownership
from .prompts import box_around, click_inside
from .sequences import AnnotatedSequence

if TYPE_CHECKING:
    from .. import VideoPredictor

Prompt = Literal["mask", "click", "box"]


def track_sequence(
    predictor: VideoPredictor, sequence: AnnotatedSequence, prompt: Prompt = "mask"
) -> Iterator[LabelMap]:
    """Label map (H, W) of every frame in order, from prompts made of each object's first annotation.

    Objects that appear together are tracked together from their frame onwards; objects that
    appear later get a run of their own. Where masks meet, the highest logit wins.

    Args:
        predictor: yields frame number, object ids and logits (N, 1, H, W), positive inside an object.
        sequence: frames and masks; only an object's first mask is looked at.
        prompt: give the mask itself, one click deep inside it, or its tight box.

    Raises:
        ValueError: the annotations show no object, or are not as large as the frames.
    """
    first = sequence.first_masks()
    if not first:
        raise ValueError(f"sequence {sequence.name}: no object is annotated on any frame")
    size_hw = sequence.size_hw
    state = predictor.init_state(sequence.frames)
    last_start = max(first)
    owners: dict[int, Ownership] = {}
    for start, masks in first.items():
        predictor.reset_state(state)
        for object_id, mask in masks.items():
            _add_prompt(predictor, state, start, object_id, mask, prompt)
        if start == last_start:
            yield from (owners.pop(frame, Ownership(size_hw)).labels for frame in range(start))
        for frame, ids, logits_n1hw in predictor.propagate_in_video(state, start_frame_idx=start):
            owner = owners.setdefault(frame, Ownership(size_hw))
            owner.add(ids, logits_n1hw[:, 0])
            if start == last_start:
                yield owners.pop(frame).labels


def _add_prompt(
    predictor: VideoPredictor, state: Any, frame: int, object_id: int, mask: NDArray[np.bool_], prompt: Prompt
) -> None:
    if prompt == "mask":
        predictor.add_new_mask(state, frame, object_id, mask)
    elif prompt == "box":
        predictor.add_new_points_or_box(state, frame, object_id, box=np.array(box_around(mask), np.float32))
    else:
        points, labels = np.array([click_inside(mask)], np.float32), np.array([1], np.int32)
        predictor.add_new_points_or_box(state, frame, object_id, points=points, labels=labels)
