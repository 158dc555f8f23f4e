"""Answers of a video as results whose masks are made on demand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_video_predictor import CLICK, opened

from etam_onnx.runtime.errors import StateError


@pytest.mark.parametrize("options", [{}, {"non_overlap_masks": True}, {"release_passed_frames": True}], ids=str)
@pytest.mark.parametrize("reverse", [False, True])
def test_results_are_the_answers_with_masks_made_on_demand(options: dict[str, Any], reverse: bool) -> None:
    found, expected = [], []
    for into, method in ((found, "results_in_video"), (expected, "propagate_in_video")):
        fake, predictor, state = opened(9, **options)
        fake.absent = {6}
        predictor.add_new_points_or_box(state, 4, 1, **CLICK)
        predictor.add_new_points_or_box(state, 4, 7, box=[10, 6, 44, 30])
        into += list(getattr(predictor, method)(state, max_frame_num_to_track=3, reverse=reverse))
    assert len(found) == len(expected) == 4
    for result, (frame, ids, logits) in zip(found, expected, strict=True):
        assert (result.frame, result.ids.tolist()) == (frame, ids)
        np.testing.assert_array_equal(result.masks, logits[:, 0] > 0)
        np.testing.assert_array_equal(result.logits, logits[:, 0])
        assert result.lost.tolist() == [frame == 6] * 2


def test_results_need_an_object_before_the_first_is_asked_for() -> None:
    _, predictor, state = opened()
    with pytest.raises(StateError, match="nothing to track"):
        predictor.results_in_video(state)
