"""The video predictor's procedure, on networks that write down what they were asked."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from fake_networks import Attended, Decoded, Encoded, FakeModel, Memorized, numbered_frames

from etam_onnx.runtime.errors import PromptError, StateError
from etam_onnx.runtime.video_predictor import InferenceState, VideoPredictor

CLICK = {"points": [[40, 24]], "labels": [1]}
CORRECTION = {"points": [[20, 12], [70, 40]], "labels": [1, 0]}


def opened(count: int = 12, fake: FakeModel | None = None, **options: Any) -> tuple[FakeModel, Any, InferenceState]:
    fake = fake or FakeModel()
    predictor = VideoPredictor(fake.networks(), **options)
    return fake, predictor, predictor.init_state(numbered_frames(count))


def frames_of(answers: Any) -> list[int]:
    return [frame for frame, _, _ in answers]


@pytest.mark.parametrize(
    ("arguments", "visited"),
    [
        ({}, list(range(4, 12))),
        ({"start_frame_idx": 2}, list(range(2, 12))),
        ({"start_frame_idx": 2, "max_frame_num_to_track": 3}, [2, 3, 4, 5]),
        ({"max_frame_num_to_track": 0}, [4]),
        ({"start_frame_idx": 10, "max_frame_num_to_track": 5}, [10, 11]),
        ({"reverse": True}, [4, 3, 2, 1, 0]),
        ({"start_frame_idx": 9, "max_frame_num_to_track": 2, "reverse": True}, [9, 8, 7]),
        ({"start_frame_idx": 3, "max_frame_num_to_track": 8, "reverse": True}, [3, 2, 1, 0]),
        ({"start_frame_idx": 0, "reverse": True}, []),
        ({"start_frame_idx": np.int64(2), "max_frame_num_to_track": np.int32(1)}, [2, 3]),
    ],
    ids=str,
)
def test_the_frames_visited(arguments: dict[str, Any], visited: list[int]) -> None:
    _, predictor, state = opened()
    predictor.add_new_points_or_box(state, 7, 1, **CLICK)
    predictor.add_new_points_or_box(state, 4, 2, **CLICK)
    assert frames_of(predictor.propagate_in_video(state, **arguments)) == visited


def test_answers_have_plain_ids_and_logits_at_video_size() -> None:
    _, predictor, state = opened(3)
    predictor.add_new_points_or_box(state, np.int64(0), np.uint8(7), **CLICK)
    frame, ids, logits = predictor.add_new_points(state, 0, -3, **CLICK)
    assert (type(frame), [type(i) for i in ids], ids) == (int, [int, int], [7, -3])
    assert (logits.shape, logits.dtype) == ((2, 1, 48, 80), np.float32)
    assert predictor.add_new_points_or_box(state, 0, 7, **CLICK)[1] == [7, -3]


def test_an_object_without_output_on_a_frame_is_exactly_absent() -> None:
    _, predictor, state = opened()
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    _, _, logits = predictor.add_new_points_or_box(state, 5, 2, **CLICK)
    assert (logits[0] == -1024).all()
    assert (logits[1] > 0).any()


def test_memory_is_written_when_propagation_starts() -> None:
    fake, predictor, state = opened()
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    predictor.add_new_points_or_box(state, 0, 1, **CORRECTION)
    predictor.add_new_points_or_box(state, 6, 1, **CLICK)
    assert fake.called(Memorized) == []
    answers = predictor.propagate_in_video(state)
    next(answers)
    assert [(call.frame, call.binarized) for call in fake.called(Memorized)] == [(0, True), (6, True)]
    next(answers)
    assert [(call.frame, call.binarized) for call in fake.called(Memorized)][2:] == [(1, False)]


def test_a_first_prompt_ignores_memory_and_a_correction_uses_it_in_its_direction() -> None:
    fake, predictor, state = opened()
    predictor.add_new_points_or_box(state, 6, 1, **CLICK)
    list(predictor.propagate_in_video(state, reverse=True))
    predictor.add_new_points_or_box(state, 9, 1, **CLICK)
    assert fake.called(Decoded)[-1].kind == "without memory"
    predictor.add_new_points_or_box(state, 2, 1, **CLICK)
    assert fake.called(Decoded)[-1].kind == "fused"
    assert fake.attended(2).rows == [(3, 0), (4, 1), (5, 2), (6, 6)]
    assert fake.attended(2).pointer_frames == [3, 4, 5, 6]
    predictor.add_new_points_or_box(state, 6, 1, **CLICK)  # prompted before, and visited since
    assert fake.attended(6).rows == [(6, 6)]


def test_prompted_frames_yield_what_is_stored_and_others_are_computed_again() -> None:
    fake, predictor, state = opened(6)
    shown = predictor.add_new_points_or_box(state, 0, 1, **CLICK)[2]
    first = list(predictor.propagate_in_video(state))
    decoded = len(fake.called(Decoded))
    second = list(predictor.propagate_in_video(state))
    assert len(fake.called(Decoded)) == decoded + 5
    np.testing.assert_array_equal(first[0][2], shown)
    np.testing.assert_array_equal(second[0][2], shown)


@pytest.mark.parametrize("stick", [True, False])
def test_corrections_last_by_default(stick: bool) -> None:
    _, predictor, state = opened(8, **({} if stick else {"add_all_frames_to_correct_as_cond": False}))
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    before = [answer[2] for answer in predictor.propagate_in_video(state)]
    corrected = predictor.add_new_points_or_box(state, 4, 1, **CORRECTION)[2]
    after = [answer[2] for answer in predictor.propagate_in_video(state)]
    assert np.array_equal(after[4], corrected) == stick
    assert np.array_equal(after[4], before[4]) == (not stick)
    assert np.array_equal(after[5], before[5]) == (not stick)


def test_a_correction_that_does_not_last_is_read_as_a_recent_frame_until_it_is_tracked_again() -> None:
    fake, predictor, state = opened(8, add_all_frames_to_correct_as_cond=False)
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    list(predictor.propagate_in_video(state))
    predictor.add_new_points_or_box(state, 4, 1, **CORRECTION)
    list(predictor.propagate_in_video(state, start_frame_idx=5, max_frame_num_to_track=0))
    assert [(m.frame, m.binarized) for m, row in fake.attended(5).memories if row == 0] == [(4, True)]


def test_clearing_around_prompts_forgets_tracked_frames_nearby() -> None:
    fake, predictor, state = opened(20, clear_non_cond_mem_around_input=True)
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    list(predictor.propagate_in_video(state))
    predictor.add_new_points_or_box(state, 10, 1, **CORRECTION)
    list(predictor.propagate_in_video(state, start_frame_idx=11, max_frame_num_to_track=0))
    assert fake.attended(11).rows == [(0, 6), (10, 6)]
    assert sorted(state.objects[1].bank.recent) == [1, 2, 11, 18, 19]
    list(predictor.propagate_in_video(state, start_frame_idx=8, max_frame_num_to_track=3))
    assert fake.attended(9).rows == [(0, 6), (8, 0), (10, 6)]
    assert fake.attended(11).rows == [(0, 6), (10, 6)]  # passing frame 10 made it forget 8 and 9 again


def test_attending_to_a_limited_number_of_prompted_frames() -> None:
    fake, predictor, state = opened(30, max_cond_frames_in_attn=2)
    for frame in (0, 8, 16, 24):
        predictor.add_new_points_or_box(state, frame, 1, **CLICK)
    list(predictor.propagate_in_video(state))
    assert [t for t, row in fake.attended(12).rows if row == 6] == [8, 16]
    assert [t for t, row in fake.attended(27).rows if row == 6] == [16, 24]
    assert fake.attended(20).rows == sorted([(16, 6), (24, 6), (19, 0), (18, 1), (17, 2), (15, 4), (14, 5)])


@pytest.mark.parametrize("asked", [-1, 5])
def test_more_prompted_frames_than_the_bundle_holds_give_one_warning(asked: int) -> None:
    fake, predictor, state = opened(20, FakeModel(prompted_frames=3), max_cond_frames_in_attn=asked)
    for frame in (0, 5, 10, 15):
        predictor.add_new_points_or_box(state, frame, 1, **CLICK)
    with pytest.warns(UserWarning, match="4 prompted frames, this bundle attends to 3") as caught:
        list(predictor.propagate_in_video(state))
        list(predictor.propagate_in_video(state))
    assert len(caught) == 1
    assert [t for t, row in fake.attended(19).rows if row == 6] == [5, 10, 15]


def test_a_limit_that_was_asked_for_gives_no_warning() -> None:
    _, predictor, state = opened(20, FakeModel(prompted_frames=3), max_cond_frames_in_attn=3)
    for frame in (0, 5, 10, 15):
        predictor.add_new_points_or_box(state, frame, 1, **CLICK)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(predictor.propagate_in_video(state))


def test_an_object_prompted_later_is_found_before_with_memory_and_without_pointer() -> None:
    fake, predictor, state = opened()
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    predictor.add_new_points_or_box(state, 5, 2, **CLICK)
    list(predictor.propagate_in_video(state))
    (second,) = fake.called(Attended, 0)
    assert (second.rows, second.pointers, second.slots) == ([(5, 6)], (), 1)
    later = fake.called(Attended, 1)[-1]
    assert (later.rows, later.pointer_frames, later.slots) == ([(0, 0), (5, 6)], [0], 7)


def test_a_frame_is_encoded_once_for_all_objects() -> None:
    fake, predictor, state = opened()
    for name in (1, 2, 3):
        for frame in (0, 2, 4, 6, 8, 10):
            predictor.add_new_points_or_box(state, frame, name, **CLICK)
    fake.calls.clear()
    answers = predictor.propagate_in_video(state)
    assert [call.frame for call in fake.called(Encoded)] == [0, 2, 4, 6, 8, 10]
    fake.calls.clear()
    list(answers)
    assert [call.frame for call in fake.called(Encoded)] == [1, 3, 5, 7, 9, 11]


def test_removing_an_object_leaves_the_others_untouched() -> None:
    _, predictor, state = opened(6)
    _, alone, alone_state = opened(6)
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    predictor.add_new_points_or_box(state, 2, 2, **CORRECTION)
    alone.add_new_points_or_box(alone_state, 0, 1, **CLICK)
    list(predictor.propagate_in_video(state))
    list(alone.propagate_in_video(alone_state))
    ids, shown = predictor.remove_object(state, 2)
    assert (ids, [frame for frame, _ in shown]) == ([1], [2])
    assert shown[0][1].shape == (1, 1, 48, 80)
    expected = list(alone.propagate_in_video(alone_state))
    for found, wanted in zip(predictor.propagate_in_video(state), expected, strict=True):
        assert found[:2] == wanted[:2]
        np.testing.assert_array_equal(found[2], wanted[2])


def test_removing_the_last_and_unknown_objects() -> None:
    _, predictor, state = opened()
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    assert predictor.remove_object(state, 5) == ([1], [])
    with pytest.raises(StateError, match=r"there is no object 5, the objects are \[1\]"):
        predictor.remove_object(state, 5, strict=True)
    assert predictor.remove_object(state, 1) == ([], [])
    with pytest.raises(StateError, match="nothing to track"):
        predictor.propagate_in_video(state)
    predictor.add_new_points_or_box(state, 3, 1, **CLICK)
    assert frames_of(predictor.propagate_in_video(state))[0] == 3


def test_withdrawing_prompts_makes_a_frame_a_tracked_one() -> None:
    fake, predictor, state = opened()
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    predictor.add_new_points_or_box(state, 3, 1, **CLICK)
    list(predictor.propagate_in_video(state))
    kept = predictor.clear_all_prompts_in_frame(state, 3, 1)
    assert (kept[2] > 0).any()  # its answer stays until it is tracked again
    assert predictor.clear_all_prompts_in_frame(state, 3, 1, need_output=False) is None
    predictor.add_new_points_or_box(state, 3, 1, **CLICK)
    assert fake.called(Decoded)[-1].kind == "without memory"  # as on a frame that was never tracked
    predictor.clear_all_prompts_in_frame(state, 3, 1)
    list(predictor.propagate_in_video(state, max_frame_num_to_track=4))
    assert fake.attended(4).rows == [(0, 6), (1, 2), (2, 1), (3, 0)]
    with pytest.raises(StateError, match="there is no object 9"):
        predictor.clear_all_prompts_in_frame(state, 3, 9)


def test_withdrawing_a_prompt_before_propagation_leaves_nothing_on_the_frame() -> None:
    _, predictor, state = opened()
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    assert (predictor.clear_all_prompts_in_frame(state, 0, 1)[2] == -1024).all()
    with pytest.raises(StateError, match="object 1 has no prompt left"):
        predictor.propagate_in_video(state)


def test_an_object_without_any_prompt_left_starts_anew() -> None:
    fake, predictor, state = opened()
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    list(predictor.propagate_in_video(state))
    predictor.clear_all_prompts_in_frame(state, 0, 1)
    predictor.add_new_points_or_box(state, 11, 1, **CLICK)
    assert fake.called(Decoded)[-1].kind == "without memory"
    assert frames_of(predictor.propagate_in_video(state)) == [11]


def test_resetting_forgets_all_objects_and_keeps_the_video() -> None:
    _, predictor, state = opened()
    first = predictor.add_new_points_or_box(state, 2, 1, **CLICK)[2]
    list(predictor.propagate_in_video(state))
    predictor.reset_state(state)
    assert (state.obj_ids, state.num_frames) == ([], 12)
    np.testing.assert_array_equal(predictor.add_new_points_or_box(state, 2, 1, **CLICK)[2], first)


def test_objects_do_not_overlap_when_asked() -> None:
    _, predictor, state = opened(3, non_overlap_masks=True)
    predictor.add_new_points_or_box(state, 0, 1, [[36, 24]], [1])
    predictor.add_new_points_or_box(state, 0, 2, [[44, 24]], [1])
    for _, _, logits in predictor.propagate_in_video(state):
        assert ((logits > 0).sum(0) <= 1).all()
        assert (logits > 0).any((1, 2, 3)).all()
        assert logits.max() < 10


def test_a_generator_left_midway_leaves_a_state_to_go_on_with() -> None:
    _, predictor, state = opened(8)
    _, other, other_state = opened(8)
    for one, its_state in ((predictor, state), (other, other_state)):
        one.add_new_points_or_box(its_state, 0, 1, **CLICK)
    answers = predictor.propagate_in_video(state)
    for _ in range(4):
        next(answers)
    answers.close()
    whole = list(other.propagate_in_video(other_state))
    for found, wanted in zip(predictor.propagate_in_video(state, start_frame_idx=4), whole[4:], strict=True):
        np.testing.assert_array_equal(found[2], wanted[2])


def test_prompts_between_two_frames_count_from_the_next_one_on() -> None:
    fake, predictor, state = opened(8)
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    answers = predictor.propagate_in_video(state)
    for _ in range(3):
        next(answers)
    predictor.add_new_points_or_box(state, 2, 1, **CORRECTION)
    predictor.add_new_points_or_box(state, 1, 2, **CLICK)
    ahead = predictor.add_new_points_or_box(state, 5, 1, **CLICK)[2]
    frame, ids, _ = next(answers)
    assert (frame, ids) == (3, [1, 2])
    assert [call.rows for call in fake.called(Attended, 3)] == [[(0, 6), (1, 1), (2, 6), (5, 6)], [(1, 6)]]
    next(answers)
    np.testing.assert_array_equal(next(answers)[2][0], ahead[0])
    predictor.remove_object(state, 1)
    assert next(answers)[:2] == (6, [2])
    predictor.remove_object(state, 2)
    assert next(answers)[2].shape == (0, 1, 48, 80)


def test_releasing_passed_frames_changes_no_answer_and_bounds_the_memory() -> None:
    _, predictor, state = opened(60, release_passed_frames=True)
    _, keeper, keeper_state = opened(60)
    for one, its_state in ((predictor, state), (keeper, keeper_state)):
        one.add_new_points_or_box(its_state, 0, 1, **CLICK)
        one.add_new_points_or_box(its_state, 30, 1, **CLICK)
    for found, wanted in zip(predictor.propagate_in_video(state), keeper.propagate_in_video(keeper_state), strict=True):
        np.testing.assert_array_equal(found[2], wanted[2])
    bank = state.objects[1].bank
    assert (len(bank.recent), len(bank.prompted), len(state.features)) == (15, 2, 4)
    assert sum(entry.memory is not None for entry in bank.recent.values()) == 6


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"frame_idx": 12}, "frame 12 is outside the video of 12 frames"),
        ({"frame_idx": -1}, "frame -1 is outside the video of 12 frames"),
        ({"frame_idx": 1.5}, "a frame number should be an integer, found 1.5"),
        ({"obj_id": "cat"}, "an object id should be an integer, found 'cat'"),
        ({"obj_id": 1.0}, "an object id should be an integer, found 1.0"),
        ({"obj_id": 2**64}, "an object id should fit in 64 bits, found 18446744073709551616"),
        ({"points": None, "labels": None}, "at least one of points and box must be given"),
        ({"points": np.zeros((0, 2)), "labels": []}, "a prompt needs at least one point or a box"),
        ({"box": [1, 1, 9, 9], "clear_old_points": False}, "a box precedes all points"),
        ({"points": [[90, 5]]}, r"the point \(90, 5\) lies outside the frame of 80 x 48 pixels"),
        ({"points": [[5, 5]] * 6, "labels": [1] * 6}, "at most 5 points on a frame"),
    ],
    ids=str,
)
def test_a_refused_prompt_leaves_no_trace(arguments: dict[str, Any], sentence: str) -> None:
    _, predictor, state = opened()
    expected = predictor.add_new_points_or_box(state, 1, 5, **CLICK)
    for name in (5, 6):  # an object that is there, and one that is not
        with pytest.raises(PromptError, match=sentence):
            predictor.add_new_points_or_box(state, **{"frame_idx": 1, "obj_id": name, **CLICK, **arguments})
    assert state.obj_ids == [5]
    found = next(predictor.propagate_in_video(state))
    np.testing.assert_array_equal(found[2], expected[2])


def test_too_many_points_added_one_by_one_keep_the_earlier_ones() -> None:
    _, predictor, state = opened()
    for _ in range(5):
        expected = predictor.add_new_points_or_box(state, 0, 1, **CLICK, clear_old_points=False)
    with pytest.raises(PromptError, match="at most 5 points"):
        predictor.add_new_points_or_box(state, 0, 1, **CLICK, clear_old_points=False)
    assert len(state.objects[1].points[0]) == 5
    np.testing.assert_array_equal(next(predictor.propagate_in_video(state))[2], expected[2])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"start_frame_idx": 12}, "frame 12 is outside"),
        ({"start_frame_idx": 0.0}, "a frame number should be an integer"),
        ({"max_frame_num_to_track": -1}, "max_frame_num_to_track should be at least 0, found -1"),
        ({"max_frame_num_to_track": 2.0}, "max_frame_num_to_track should be an integer, found 2.0"),
    ],
    ids=str,
)
def test_refused_propagation(arguments: dict[str, Any], sentence: str) -> None:
    _, predictor, state = opened()
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    with pytest.raises(PromptError, match=sentence):
        predictor.propagate_in_video(state, **arguments)


def test_frames_may_be_read_only_and_strided_and_must_agree_in_size() -> None:
    fake = FakeModel()
    predictor = VideoPredictor(fake.networks())
    video = np.stack(numbered_frames(4, 48, 160))[:, ::-1, ::2]
    video.setflags(write=False)
    state = predictor.init_state(video)
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    assert len(list(predictor.propagate_in_video(state))) == 4
    assert [call.frame for call in fake.called(Encoded)] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="frame 0 must be a uint8 RGB array"):
        predictor.init_state([np.zeros((48, 80, 3), np.float32)])
    with pytest.raises(ValueError, match="the first frame is 80x48"):
        predictor.init_state([*numbered_frames(1), np.zeros((50, 80, 3), np.uint8)])


@pytest.mark.parametrize("count", [0, -2])
def test_a_senseless_number_of_prompted_frames_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"should be -1 or at least 1, found {count}"):
        VideoPredictor(FakeModel().networks(), max_cond_frames_in_attn=count)
