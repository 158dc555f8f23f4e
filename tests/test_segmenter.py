"""The rules between prompt and memory: which mask, which pointer, what is gated, what the memory is made from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fake_networks import Attended, Decoded, FakeModel, Memorized, numbered_frames

from etam_onnx.runtime.segmenter import pick_mask
from etam_onnx.runtime.video_predictor import InferenceState, VideoPredictor

CLICK = {"points": [[40, 24]], "labels": [1]}
TWO_CLICKS = {"points": [[40, 24], [70, 40]], "labels": [1, 0]}
BOX = {"box": [20, 10, 60, 40]}
ROUNDING = 2e-6
"""Of weights that sum to one, times ten, in single precision."""


def opened(count: int = 6, fake: FakeModel | None = None, **options: Any) -> tuple[FakeModel, Any, InferenceState]:
    fake = fake or FakeModel()
    predictor = VideoPredictor(fake.networks(), **options)
    return fake, predictor, predictor.init_state(numbered_frames(count))


def run(fake: FakeModel, prompt: dict[str, Any], unstable: bool = False) -> tuple[int, int]:
    """Which mask is shown after a prompt, and which token's pointer the next frame reads."""
    fake.unstable = unstable
    _, predictor, state = opened(2, fake)
    predictor.add_new_points_or_box(state, 0, 1, **prompt)
    low_res, decoded = state.objects[1].output(0).low_res, fake.called(Decoded)[-1].mask_logits
    (mask,) = (token for token in range(4) if np.array_equal(decoded[token], low_res))
    list(predictor.propagate_in_video(state))
    (pointer,) = fake.attended(1).pointers
    assert pointer is not None
    return mask, pointer.token


def test_one_click_takes_the_best_of_three_masks_and_its_pointer() -> None:
    assert run(FakeModel(), CLICK) == (2, 2)
    assert run(FakeModel(), CLICK, unstable=True) == (2, 2)


@pytest.mark.parametrize("prompt", [TWO_CLICKS, BOX], ids=["two clicks", "a box"])
def test_a_clear_prompt_takes_the_single_mask(prompt: dict[str, Any]) -> None:
    assert run(FakeModel(), prompt) == (0, 0)


@pytest.mark.parametrize("prompt", [TWO_CLICKS, BOX], ids=["two clicks", "a box"])
def test_an_unstable_single_mask_gives_way_while_its_pointer_stays(prompt: dict[str, Any]) -> None:
    assert run(FakeModel(), prompt, unstable=True) == (2, 0)


def test_tracked_frames_take_the_best_of_three() -> None:
    fake, predictor, state = opened()
    fake.iou = (0.9, 0.1, 0.2, 0.3)
    predictor.add_new_points_or_box(state, 0, 1, **TWO_CLICKS)
    list(predictor.propagate_in_video(state))
    low_res = state.objects[1].output(3).low_res
    np.testing.assert_array_equal(low_res, fake.called(Decoded, 3)[-1].mask_logits[3])
    tokens = [(p.frame, p.token) for p in fake.attended(5).pointers if p]
    assert sorted(tokens) == [(0, 0), (1, 3), (2, 3), (3, 3), (4, 3)]


@pytest.mark.parametrize(
    ("inside", "around", "kept"),
    [(49, 1, True), (48, 2, False), (98, 2, True), (97, 3, False), (0, 0, True), (0, 5, False)],
)
def test_stability_is_the_ratio_of_two_areas(inside: int, around: int, kept: bool) -> None:
    single = np.full(256, -1.0, np.float32)
    single[:inside], single[inside : inside + around] = 1.0, 0.0
    masks = np.stack([single.reshape(16, 16)] * 4)
    iou = np.asarray([0.9, 0.1, 0.2, 0.7], np.float32)
    assert pick_mask(masks, iou, False, 0.05, 0.98) == (0 if kept else 3)


def test_the_bounds_of_stability_are_open() -> None:
    mask = np.full((4, 4, 4), 0.05, np.float32)  # not above +0.05: none of it is certain
    assert pick_mask(mask, np.asarray([0.9, 0.5, 0.2, 0.1], np.float32), False, 0.05, 0.98) == 1
    mask = np.full((4, 4, 4), -0.05, np.float32)  # not above -0.05 either: an empty mask is stable
    assert pick_mask(mask, np.asarray([0.9, 0.5, 0.2, 0.1], np.float32), False, np.float32(0.05), 0.98) == 0


def test_of_equal_predictions_the_first_wins() -> None:
    assert pick_mask(np.zeros((4, 2, 2), np.float32), np.asarray([1, 0.5, 0.5, 0.5], np.float32), True, 0.05, 0.98) == 1


def test_points_arrive_padded_and_in_model_pixels() -> None:
    fake, predictor, state = opened()
    predictor.add_new_points_or_box(state, 0, 1, **TWO_CLICKS)
    assert fake.called(Decoded)[-1].points == ((32, 32, 1), (56, pytest.approx(160 / 3), 0), (0, 0, -1))
    predictor.add_new_points_or_box(state, 0, 2, points=[[40, 24]], labels=[0], box=[20, 12, 60, 36])
    assert fake.called(Decoded)[-1].points == ((16, 16, 2), (48, 48, 3), (32, 32, 0), (0, 0, -1))
    predictor.add_new_points_or_box(state, 0, 2, points=[[10, 12]], labels=[1], clear_old_points=False)
    assert fake.called(Decoded)[-1].points == ((16, 16, 2), (48, 48, 3), (32, 32, 0), (8, 16, 1), (0, 0, -1))
    list(predictor.propagate_in_video(state))
    assert fake.called(Decoded, 1)[-1].points == ((0, 0, -1), (0, 0, -1))


def test_new_clicks_refine_the_previous_mask_of_the_same_object_on_the_same_frame() -> None:
    fake, predictor, state = opened()
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    predictor.add_new_points_or_box(state, 0, 2, **CLICK)
    predictor.add_new_points_or_box(state, 1, 1, **CLICK)
    assert [call.mask_input for call in fake.called(Decoded)] == [None, None, None]
    before = state.objects[1].output(0).low_res
    predictor.add_new_points_or_box(state, 0, 1, **TWO_CLICKS)
    np.testing.assert_array_equal(fake.called(Decoded)[-1].mask_input, before)


def test_the_previous_mask_is_clamped() -> None:
    fake, predictor, state = opened()
    fake.absent = {0}
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    assert (state.objects[1].output(0).low_res == -1024).all()
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    assert (fake.called(Decoded)[-1].mask_input == -32).all()


def test_an_absent_object_loses_mask_and_pointer_while_its_memory_is_written() -> None:
    fake, predictor, state = opened()
    fake.absent = {2}  # the fake's presence is exactly 0 there
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    answers = {frame: logits for frame, _, logits in predictor.propagate_in_video(state)}
    assert (answers[2] == pytest.approx(-1024)) and (answers[1] > 0).any()
    assert state.objects[1].output(2).presence == 0
    (memorized,) = fake.called(Memorized, 2)
    assert (memorized.mask_logits == -1024).all() and not memorized.binarized
    assert (2, 0) in fake.attended(3).rows
    assert [pointer is None for pointer in fake.attended(3).pointers].count(True) == 1
    assert fake.attended(3).pointer_frames == [0, 1]


def test_exactly_one_memory_and_several_use_their_own_graphs() -> None:
    fake, predictor, state = opened(14)
    for frame in (0, 10, 11):
        predictor.add_new_points_or_box(state, frame, 1, **CLICK)
    list(predictor.propagate_in_video(state))
    slots = {call.frame: (len(call.memories), call.slots) for call in fake.called(Attended)}
    assert slots[1] == (3, 7) and slots[4] == (6, 7) and slots[5] == (7, 7) and slots[6] == (8, 14)
    fake, predictor, state = opened(3)
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    list(predictor.propagate_in_video(state))
    assert [(call.frame, len(call.memories), call.slots) for call in fake.called(Attended)] == [(1, 1, 1), (2, 2, 7)]


def test_a_mask_prompt_is_the_answer_itself() -> None:
    fake, predictor, state = opened()
    mask = np.zeros((48, 80), bool)
    mask[:24] = True  # 32 rows of the square input, 8 rows of the low resolution
    _, _, logits = predictor.add_new_mask(state, 0, 1, mask)
    np.testing.assert_array_equal(logits[0, 0] > 0, mask)
    (decoded,) = fake.called(Decoded)
    assert (decoded.kind, decoded.points) == ("raw", ((0, 0, -1), (0, 0, -1)))
    dense = np.where(np.arange(16)[:, None] < 8, sum(range(16)) + 0.5, 0.5)  # the fake's convolution sums 0..15
    np.testing.assert_array_equal(decoded.mask_input, np.broadcast_to(dense, (16, 16)))
    output = state.objects[1].output(0)
    assert output.low_res[[0, 6, 9, 15], 0] == pytest.approx([10, 10, -10, -10], abs=ROUNDING)
    assert (output.presence, output.iou) == (10, 1)
    list(predictor.propagate_in_video(state, max_frame_num_to_track=1))
    assert fake.called(Memorized)[0].binarized
    assert [(pointer.frame, pointer.token) for pointer in fake.attended(1).pointers if pointer] == [(0, 0)]


def test_the_convolution_of_a_mask_prompt_reads_rows_then_columns() -> None:
    fake, predictor, state = opened(1)
    predictor.segmenter.accept_mask(predictor._features(state, 0), np.eye(64, dtype=np.float32))
    dense = fake.called(Decoded)[-1].mask_input
    np.testing.assert_array_equal(dense, np.eye(16) * (0 + 5 + 10 + 15) + 0.5)
    one = np.zeros((64, 64), np.float32)
    one[4 * 3 + 1, 4 * 7 + 2] = 1
    predictor.segmenter.accept_mask(predictor._features(state, 0), one)
    assert fake.called(Decoded)[-1].mask_input[3, 7] == 0.5 + 4 * 1 + 2


def test_an_empty_mask_means_that_the_object_is_not_there() -> None:
    fake, predictor, state = opened()
    _, _, logits = predictor.add_new_mask(state, 0, 1, np.zeros((48, 80)))
    assert logits == pytest.approx(-10, abs=ROUNDING)
    assert state.objects[1].output(0).presence == -10
    list(predictor.propagate_in_video(state, max_frame_num_to_track=1))
    assert fake.attended(1).rows == [(0, 6)]
    assert fake.attended(1).pointers == (None,)


def test_a_decoder_that_sees_nothing_takes_the_pointer_of_a_mask_prompt() -> None:
    fake, predictor, state = opened()
    fake.absent = {0}
    predictor.add_new_mask(state, 0, 1, np.ones((48, 80)))
    assert state.objects[1].output(0).low_res == pytest.approx(10, abs=ROUNDING)
    list(predictor.propagate_in_video(state, max_frame_num_to_track=1))
    assert fake.attended(1).pointers == (None,)


def test_clicks_replace_a_mask_and_refine_it_and_a_mask_replaces_clicks() -> None:
    fake, predictor, state = opened()
    predictor.add_new_mask(state, 0, 1, np.ones((48, 80)))
    predictor.add_new_points_or_box(state, 0, 1, **CLICK, clear_old_points=False)
    assert fake.called(Decoded)[-1].mask_input == pytest.approx(10, abs=ROUNDING)
    assert (len(state.objects[1].points[0]), state.objects[1].masks) == (1, {})
    predictor.add_new_mask(state, 0, 1, np.ones((48, 80)))
    assert state.objects[1].points == {}
    assert fake.called(Decoded)[-1].kind == "raw"


def test_holes_are_filled_before_the_memory_of_prompted_frames_and_after_that_of_tracked_ones() -> None:
    fake, predictor, state = opened(fill_hole_area=1)
    fake.hole = True
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    hole = np.s_[8, 8]
    raw, shown = fake.called(Decoded)[-1].mask_logits[2], state.objects[1].output(0).low_res
    assert raw[hole] < 0 and shown[hole] == np.float32(0.1)
    assert np.count_nonzero(shown != raw) == 1
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    assert fake.called(Decoded)[-1].mask_input[hole] == np.float32(0.1)
    fake.memories.clear()
    answers = predictor.propagate_in_video(state)
    next(answers)
    assert fake.called(Memorized, 0)[0].mask_logits[hole] == np.float32(0.1)
    fake.memories[0].mask_logits[hole] = -1  # what is remembered has the hole, so what is tracked has it
    next(answers)
    assert fake.called(Memorized, 1)[0].mask_logits[hole] < 0
    assert state.objects[1].output(1).low_res[hole] == np.float32(0.1)


def test_holes_of_a_mask_prompt_are_filled() -> None:
    _, predictor, state = opened(fill_hole_area=4)
    mask = np.ones((48, 80), bool)
    mask[21:24, 40:45] = False
    assert (predictor.add_new_mask(state, 0, 1, mask)[2] > 0).all()
    _, predictor, state = opened()
    assert (predictor.add_new_mask(state, 0, 1, mask)[2] < 0).any()
