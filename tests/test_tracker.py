"""The streaming tracker: the same answers as the video predictor, with constant memory."""

from __future__ import annotations

import random
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fake_networks import Attended, Decoded, Encoded, FakeModel, Memorized, numbered_frame, numbered_frames

from etam_onnx.runtime.errors import FrameError, PromptError, StateError
from etam_onnx.runtime.frame_result import FrameResult, frame_result, mask_boxes
from etam_onnx.runtime.segmenter import Prediction
from etam_onnx.runtime.tracker import Tracker
from etam_onnx.runtime.video_predictor import VideoPredictor

CLICK = {"points": [[40, 24]], "labels": [1]}
CORRECTION = {"points": [[20, 12], [70, 40]], "labels": [1, 0]}
ARRAYS = ("ids", "masks", "logits", "presence", "lost", "iou", "boxes")


def opened(fake: FakeModel | None = None, **options: Any) -> tuple[FakeModel, Tracker]:
    fake = fake or FakeModel()
    return fake, Tracker(fake.networks(), **options)


def assert_equal(found: FrameResult, expected: FrameResult) -> None:
    assert found.frame == expected.frame
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def some_prompt(rng: random.Random) -> dict[str, Any]:
    kind = rng.choice(("click", "clicks", "box", "mask"))
    if kind == "mask":
        mask = np.zeros((48, 80), bool)
        mask[rng.randrange(40) :, rng.randrange(70) :] = True
        return {"mask": mask}
    if kind == "box":
        x, y = rng.randrange(60), rng.randrange(30)
        return {"box": [x, y, x + 20, y + 15]}
    count = 1 if kind == "click" else 3
    points = [(rng.uniform(0, 80), rng.uniform(0, 48)) for _ in range(count)]
    return {"points": points, "labels": [1, 0, 1][:count]}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("options", [{}, {"fill_hole_area": 3, "non_overlap_masks": True}], ids=str)
def test_it_answers_as_the_video_predictor_frame_by_frame(seed: int, options: dict[str, Any]) -> None:
    rng, count = random.Random(seed), 24
    ours, theirs = FakeModel(prompted_frames=30), FakeModel(prompted_frames=30)
    ours.absent = theirs.absent = set(rng.sample(range(count), 3))
    ours.hole = theirs.hole = True
    tracker, predictor = Tracker(ours.networks(), **options), VideoPredictor(theirs.networks(), **options)
    state = predictor.init_state(numbered_frames(count))
    for index in range(count):
        result = tracker.step(numbered_frame(index))
        if state.objects:
            ((_, ids, logits),) = predictor.propagate_in_video(state, index, 0)
            assert result.ids.tolist() == ids
            np.testing.assert_array_equal(result.logits, logits[:, 0])
        for _ in range(rng.choice((0, 0, 1, 2)) if index else 2):
            name, prompt = rng.randint(1, 3), some_prompt(rng)
            result = tracker.prompt(name, **prompt)
            if "mask" in prompt:
                _, ids, logits = predictor.add_new_mask(state, index, name, **prompt)
            else:
                _, ids, logits = predictor.add_new_points_or_box(state, index, name, **prompt)
            assert result.ids.tolist() == ids
            np.testing.assert_array_equal(result.logits, logits[:, 0])
        if rng.random() < 0.1 and len(state.objects) > 1:
            name = rng.choice(state.obj_ids)
            tracker.remove(name)
            predictor.remove_object(state, name)


def test_a_prompt_needs_a_frame() -> None:
    _, tracker = opened()
    with pytest.raises(StateError, match=r"call step\(frame\) first"):
        tracker.prompt(1, **CLICK)
    tracker.step(numbered_frame(0))
    tracker.reset()
    with pytest.raises(StateError, match=r"call step\(frame\) first"):
        tracker.prompt(1, **CLICK)


def test_memory_is_written_when_the_next_frame_arrives() -> None:
    fake, tracker = opened()
    tracker.step(numbered_frame(0))
    tracker.prompt(1, **CLICK)
    tracker.prompt(1, **CORRECTION)
    assert fake.called(Memorized) == []
    tracker.step(numbered_frame(1))
    assert [(call.frame, call.binarized) for call in fake.called(Memorized)] == [(0, True)]
    tracker.step(numbered_frame(2))
    assert [(call.frame, call.binarized) for call in fake.called(Memorized)] == [(0, True), (1, False)]
    assert fake.attended(2).rows == [(0, 6), (1, 0)]


def test_a_repeated_prompt_replaces_the_points_of_the_frame() -> None:
    fake, tracker = opened()
    tracker.step(numbered_frame(0))
    tracker.prompt(1, **CLICK)
    tracker.prompt(1, points=[[20, 12]], labels=[1])
    (x, y, label), padding = fake.called(Decoded)[-1].points
    assert ((x, y, label), padding) == ((16, 16, 1), (0, 0, -1))
    assert fake.called(Decoded)[-1].kind == "without memory"
    assert fake.called(Decoded)[-1].mask_input is not None


def test_objects_come_and_go() -> None:
    fake, tracker = opened()
    assert len(tracker.step(numbered_frame(0))) == 0
    tracker.prompt(np.int64(7), **CLICK)
    tracker.step(numbered_frame(1))
    assert tracker.prompt(3, **CLICK).ids.tolist() == [7, 3]
    assert fake.called(Decoded)[-1].kind == "without memory"
    assert tracker.prompt(7, **CLICK).ids.tolist() == [7, 3]
    assert fake.called(Decoded)[-1].kind == "fused"
    assert tracker.object_ids == [7, 3]
    tracker.remove(np.uint8(7))
    assert tracker.step(numbered_frame(2)).ids.tolist() == [3]
    with pytest.raises(StateError, match=r"there is no object 7, the objects are \[3\]"):
        tracker.remove(7)
    tracker.remove(3)
    assert tracker.step(numbered_frame(3)).masks.shape == (0, 48, 80)
    assert (tracker.frame_index, tracker.object_ids) == (3, [])
    tracker.prompt(7, **CLICK)
    assert fake.called(Decoded)[-1].kind == "without memory"
    assert [len(fake.called(Encoded, index)) for index in range(4)] == [1, 1, 1, 1]


def test_resetting_allows_another_size() -> None:
    _, tracker = opened()
    tracker.step(numbered_frame(0))
    tracker.prompt(1, **CLICK)
    tracker.reset()
    assert tracker.frame_index == -1
    result = tracker.step(numbered_frame(0, 20, 30))
    assert (result.frame, result.masks.shape) == (0, (0, 20, 30))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"object_id": None}, "an object id should be an integer, found None"),
        ({"object_id": 2.0}, "an object id should be an integer, found 2.0"),
        ({"points": None, "labels": None}, "a prompt needs points with labels, a box, or a mask"),
        ({"points": [], "labels": []}, "a prompt needs points with labels, a box, or a mask"),
        ({"labels": None}, "points and labels must be given together"),
        ({"mask": np.ones((48, 80))}, "a mask cannot be combined with points or a box"),
        ({"points": None, "labels": None, "mask": np.ones((80, 48))}, r"the mask has the shape \(80, 48\)"),
        ({"points": [[1, 1]] * 7, "labels": [1] * 7}, "at most 5 points"),
    ],
    ids=str,
)
def test_a_refused_prompt_leaves_no_trace(arguments: dict[str, Any], sentence: str) -> None:
    _, tracker = opened()
    _, undisturbed = opened()
    for one in (tracker, undisturbed):
        one.step(numbered_frame(0))
        one.prompt(5, **CLICK)
    for name in (5, 6):
        with pytest.raises(PromptError, match=sentence):
            tracker.prompt(**{"object_id": name, **CLICK, **arguments})
    assert_equal(tracker.step(numbered_frame(1)), undisturbed.step(numbered_frame(1)))


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        (np.zeros((48, 80, 3), np.float32), "a frame should be uint8, found float32"),
        (np.zeros((48, 80), np.uint8), r"a frame should have the shape \(H, W, 3\), found \(48, 80\)"),
        (np.zeros((48, 80, 4), np.uint8), r"found \(48, 80, 4\)"),
        (np.zeros((0, 80, 3), np.uint8), r"found \(0, 80, 3\)"),
        (np.zeros((48, 81, 3), np.uint8), r"has the shape \(48, 81, 3\), the ones before it had \(48, 80, 3\)"),
        ([[1]], "should be a numpy array of uint8"),
    ],
    ids=lambda value: str(getattr(value, "shape", value)),
)
def test_a_refused_frame_leaves_no_trace(frame: Any, sentence: str) -> None:
    _, tracker = opened()
    _, undisturbed = opened()
    for one in (tracker, undisturbed):
        one.step(numbered_frame(0))
        one.prompt(5, **CLICK)
    with pytest.raises(FrameError, match=sentence):
        tracker.step(frame)
    assert_equal(tracker.step(numbered_frame(1)), undisturbed.step(numbered_frame(1)))


def test_frames_may_be_read_only_strided_and_changed_afterwards() -> None:
    fake, tracker = opened()
    wide = numbered_frame(1, 48, 160)
    view = wide[::-1, ::-2]
    view.setflags(write=False)
    tracker.step(view)
    wide[:] = 9
    tracker.prompt(1, **CLICK)
    tracker.step(numbered_frame(2))
    assert fake.attended(2).rows == [(1, 6)]


def stored_entries(tracker: Tracker) -> list[dict[str, int]]:
    """The size of every container of every object, and the number of memories held."""
    counts = []
    for track in tracker._tracks.values():
        containers = {**vars(track), **vars(track.bank)}
        count = {name: len(container) for name, container in containers.items() if hasattr(container, "__len__")}
        assert len(count) == 6
        counts.append({**count, "memories": sum(entry.memory is not None for entry in track.bank.recent.values())})
    return counts


def test_the_state_is_constant_over_a_long_stream() -> None:
    fake, tracker = opened(FakeModel(prompted_frames=3))
    mask = np.ones((48, 80), bool)
    sizes = []
    with pytest.warns(UserWarning, match="more than 3 prompted frames") as caught:
        for index in range(300):
            tracker.step(numbered_frame(index))
            if index % 5 == 0:
                for _ in range(2):
                    tracker.prompt(1, **CLICK)
                tracker.prompt(2, mask=mask)
                tracker.prompt(3, box=[4, 4, 30, 30])
            sizes.append(stored_entries(tracker))
    assert len(caught) == 1
    for early, late in zip(sizes[50:55], sizes[295:300], strict=True):
        assert early == late
    assert [(c["recent"], c["memories"], c["prompted"]) for c in sizes[299]] == [(13, 5, 3)] * 3
    assert fake.attended(299).rows[0] == (0, 6)
    assert [frame for frame, row in fake.attended(299).rows if row == 6] == [0, 290, 295]


def test_prompted_frames_that_give_way_count_as_tracked_ones() -> None:
    fake, tracker = opened(FakeModel(prompted_frames=2))
    with pytest.warns(UserWarning, match="the first and the latest stay"):
        for index in range(6):
            tracker.step(numbered_frame(index))
            if index in (0, 3, 4):
                tracker.prompt(1, **CLICK)
    assert fake.attended(5).rows == [(0, 6), (1, 3), (2, 2), (3, 1), (4, 6)]


def test_a_warning_that_is_an_error_does_not_break_the_stream() -> None:
    fake, tracker = opened(FakeModel(prompted_frames=2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for index in range(3):
            tracker.step(numbered_frame(index))
            tracker.prompt(1, **CLICK)
        with pytest.raises(UserWarning, match="prompted frames"):
            tracker.step(numbered_frame(3))
        assert tracker.step(numbered_frame(3)).frame == 3
    assert fake.attended(3).rows == [(0, 6), (1, 1), (2, 6)]


def test_results_are_parallel_arrays() -> None:
    fake, tracker = opened()
    fake.absent = {1}
    tracker.step(numbered_frame(0))
    tracker.prompt(4, **CLICK)
    result = tracker.prompt(-2, box=[10, 6, 40, 30])
    shapes = {name: getattr(result, name).shape for name in ARRAYS}
    assert shapes == {
        "ids": (2,),
        "masks": (2, 48, 80),
        "logits": (2, 48, 80),
        "presence": (2,),
        "lost": (2,),
        "iou": (2,),
        "boxes": (2, 4),
    }
    types = [getattr(result, name).dtype for name in ARRAYS]
    assert types == [np.int64, bool, np.float32, np.float32, bool, np.float32, np.int64]
    np.testing.assert_array_equal(result.ids, [4, -2])
    np.testing.assert_array_equal(result.masks, result.logits > 0)
    np.testing.assert_array_equal(result.presence, [5, 5])
    np.testing.assert_array_equal(result.iou, np.float32([0.8, 0.9]))
    assert not result.lost.any()
    absent = tracker.step(numbered_frame(1))
    assert absent.lost.all() and not absent.masks.any()
    np.testing.assert_array_equal(absent.boxes, np.zeros((2, 4)))
    assert (result == result) and (result != absent)


def test_a_result_without_objects_keeps_its_dimensions() -> None:
    for limit in (None, -10.0):
        result = frame_result(3, [], 5, 7, presence_threshold=0, overlap_limit=limit)
        assert (len(result), result.masks.shape, result.logits.shape, result.boxes.shape) == (
            0,
            (0, 5, 7),
            (0, 5, 7),
            (0, 4),
        )
        assert (result.ids.dtype, result.masks.dtype, result.lost.dtype) == (np.int64, bool, bool)


def test_results_refuse_arrays_of_different_length() -> None:
    prediction = Prediction(np.zeros((4, 4), np.float32), np.zeros(8, np.float32), 1.0, 0.5)
    result = frame_result(0, [(1, prediction)], 5, 7, presence_threshold=0, overlap_limit=None)
    with pytest.raises(ValueError, match="iou has 0 rows for 1 objects"):
        replace(result, iou=np.zeros(0, np.float32))


def test_boxes_go_around_masks_with_exclusive_ends() -> None:
    masks = np.zeros((3, 6, 9), bool)
    masks[0, 2:4, 3:8] = True
    masks[1, 5, 0] = masks[1, 0, 8] = True
    np.testing.assert_array_equal(mask_boxes(masks), [[3, 2, 8, 4], [0, 0, 9, 6], [0, 0, 0, 0]])


def test_presence_at_the_threshold_is_lost() -> None:
    low_res = np.zeros((4, 4), np.float32)
    predictions = [(i, Prediction(low_res, low_res[0], value, 0.5)) for i, value in enumerate((-1.0, 0.0, 0.5))]
    result = frame_result(0, predictions, 4, 4, presence_threshold=0.0, overlap_limit=None)
    assert result.lost.tolist() == [True, True, False]


def test_disjoint_results() -> None:
    _, tracker = opened(non_overlap_masks=True)
    tracker.step(numbered_frame(0))
    tracker.prompt(1, points=[[36, 24]], labels=[1])
    tracker.prompt(2, points=[[44, 24]], labels=[1])
    result = tracker.step(numbered_frame(1))
    assert result.masks.sum(0).max() == 1 and result.masks.any((1, 2)).all()


def test_attention_is_asked_once_per_object_and_frame() -> None:
    fake, tracker = opened()
    tracker.step(numbered_frame(0))
    for name in range(4):
        tracker.prompt(name, **CLICK)
    tracker.step(numbered_frame(1))
    assert [len(fake.called(kind, 1)) for kind in (Encoded, Attended, Decoded)] == [1, 4, 4]
