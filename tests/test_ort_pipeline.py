"""The `ort` variant's graphs in the tracking loop: the answers of the portable ones, with less computed twice."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_networks import Attended, Encoded, FakeModel, Memorized, numbered_frame, numbered_frames
from fake_ort_networks import FakeOrtModel, Keyed, Started
from test_tracker import CLICK, CORRECTION, assert_equal, some_prompt

from etam_onnx.runtime.image_predictor import ImagePredictor
from etam_onnx.runtime.networks import Networks
from etam_onnx.runtime.tracker import Tracker
from etam_onnx.runtime.video_predictor import VideoPredictor


def streamed(fake: FakeModel, seed: int, count: int = 24, **options: Any) -> list[Any]:
    """Everything a tracker says in a random session with several objects, absent ones included."""
    rng = random.Random(seed)
    fake.absent, fake.hole = set(rng.sample(range(count), 3)), True
    tracker, said = Tracker(fake.networks(), **options), []
    for index in range(count):
        said.append(tracker.step(numbered_frame(index)))
        for _ in range(rng.choice((0, 0, 1, 2)) if index else 2):
            said.append(tracker.prompt(rng.randint(1, 3), **some_prompt(rng)))
        if rng.random() < 0.1 and len(tracker.object_ids) > 1:
            tracker.remove(rng.choice(tracker.object_ids))
    return said


@pytest.mark.parametrize("pool", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_a_stream_gets_the_same_answers(seed: int, pool: int) -> None:
    options = {"fill_hole_area": 3, "non_overlap_masks": True} if seed else {}
    expected = streamed(FakeModel(prompted_frames=30), seed, **options)
    found = streamed(FakeOrtModel(pool, prompted_frames=30), seed, **options)
    assert len(found) == len(expected) > 24
    for ours, theirs in zip(found, expected, strict=True):
        assert_equal(ours, theirs)


def visited(fake: FakeModel, seed: int, count: int = 16) -> list[Any]:
    """What a video predictor answers to prompts anywhere and propagations in both directions."""
    rng = random.Random(seed)
    fake.absent, fake.unstable = set(rng.sample(range(count), 2)), seed % 2 == 0
    predictor = VideoPredictor(fake.networks(), clear_non_cond_mem_around_input=seed % 3 == 0)
    state, answers = predictor.init_state(numbered_frames(count)), []
    for _ in range(12):
        frame, name, prompt = rng.randrange(count), rng.randint(1, 3), some_prompt(rng)
        if "mask" in prompt:
            answers.append(predictor.add_new_mask(state, frame, name, **prompt))
        else:
            answers.append(predictor.add_new_points_or_box(state, frame, name, **prompt))
        if rng.random() < 0.5:
            start, reverse = rng.choice((None, rng.randrange(count))), rng.random() < 0.4
            answers.extend(predictor.propagate_in_video(state, start, rng.randrange(count), reverse))
    return answers


@pytest.mark.parametrize("pool", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_a_video_gets_the_same_answers_in_both_directions(seed: int, pool: int) -> None:
    expected, found = (
        visited(FakeModel(prompted_frames=30), seed),
        visited(FakeOrtModel(pool, prompted_frames=30), seed),
    )
    assert len(found) == len(expected) > 24
    for ours, theirs in zip(found, expected, strict=True):
        assert ours[:2] == theirs[:2]
        np.testing.assert_array_equal(ours[2], theirs[2])


def test_an_image_gets_the_same_masks() -> None:
    answers = []
    for fake in (FakeModel(), FakeOrtModel()):
        predictor = ImagePredictor(fake.networks())
        predictor.set_image(numbered_frame(3))
        first = predictor.predict([[40, 24]], [1])
        answers.append([*first, *predictor.predict(mask_input=first[2][0], multimask_output=False, return_logits=True)])
    for ours, theirs in zip(*answers, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_does_not_depend_on_memory_runs_once_per_frame() -> None:
    fake = FakeOrtModel()
    tracker = Tracker(fake.networks())
    tracker.step(numbered_frame(0))
    for name in (1, 2, 3):
        tracker.prompt(name, **CLICK)
    assert fake.called(Started) == []  # nothing was read from memory yet
    tracker.step(numbered_frame(1))
    tracker.prompt(2, **CORRECTION)
    tracker.prompt(3, **CORRECTION)
    assert len(fake.called(Attended, 1)) == 5
    assert (fake.called(Encoded), fake.called(Started)) == ([Encoded(0), Encoded(1)], [Started(1)])


def test_keys_are_made_once_per_memory_when_it_is_written() -> None:
    fake = FakeOrtModel()
    tracker = Tracker(fake.networks())
    for index in range(6):
        tracker.step(numbered_frame(index))
        if index == 0:
            tracker.prompt(1, **CLICK)
            tracker.prompt(2, **CLICK)
    written = [call for call in fake.calls if isinstance(call, Memorized | Keyed)]
    assert len(fake.memories) == 10
    assert [type(call) for call in written] == [Memorized, Keyed] * 10
    assert fake.called(Keyed) == [Keyed(number) for number in range(1, 11)]


def test_the_smallest_graph_that_holds_the_memories_is_used() -> None:
    fake = FakeOrtModel()
    predictor = VideoPredictor(fake.networks())
    state = predictor.init_state(numbered_frames(12))
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    predictor.add_new_points_or_box(state, 11, 1, **CLICK)
    list(predictor.propagate_in_video(state))
    slots = {call.frame: (len(call.memories), call.slots) for call in fake.called(Attended)}
    assert [slots[frame] for frame in range(1, 11)] == [(2, 2), (3, 4), (4, 4), (5, 7), (6, 7), (7, 7), *[(8, 14)] * 4]


@pytest.mark.parametrize("pool", [1, 2])
@pytest.mark.parametrize("saved_by", [FakeModel, FakeOrtModel])
def test_a_saved_tracker_goes_on_with_the_other_variant(saved_by: type[FakeModel], pool: int, tmp_path: Path) -> None:
    portable, ort = FakeModel(), FakeOrtModel(pool)
    ort.memories, ort.pointers = portable.memories, portable.pointers  # what a memory's numbers mean
    first, second = (portable, ort) if saved_by is FakeModel else (ort, portable)
    tracker = Tracker(first.networks(str(tmp_path)))
    for index in range(9):
        tracker.step(numbered_frame(index))
        if index in (0, 4):
            tracker.prompt(1, **CLICK)
            tracker.prompt(2, mask=np.ones((48, 80)))
    tracker.save(tmp_path / "saved")
    with np.load(tmp_path / "saved") as archive:
        shapes = [archive[name].shape for name in archive.files if name.endswith("/memory")]
    geometry = portable.geometry
    assert set(shapes) == {(1, geometry.tokens, geometry.memory_width)}
    ort.calls.clear()
    restored = Tracker.restore(tmp_path / "saved", bundle=second.networks())
    assert len(ort.called(Keyed)) == (len(shapes) if second is ort else 0)
    for index in range(9, 20):
        if index == 12:
            assert_equal(restored.prompt(1, **CORRECTION), tracker.prompt(1, **CORRECTION))
        assert_equal(restored.step(numbered_frame(index)), tracker.step(numbered_frame(index)))


def test_networks_that_are_loaded_keep_their_variant() -> None:
    networks = FakeOrtModel().networks()
    assert Networks.open(networks).variant == "ort"
