"""Objects on a core each: who runs where, which sessions they get, and the same answers as one after another."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_networks import numbered_frame
from fake_ort_networks import FakeOrtModel, Started
from test_tracker import CLICK, assert_equal

from etam_onnx.runtime.networks import Networks
from etam_onnx.runtime.side_by_side import SideBySide, beside_others, on_all_cores
from etam_onnx.runtime.tracker import Tracker
from etam_onnx.runtime.video_predictor import VideoPredictor


@pytest.mark.parametrize(
    ("workers", "items", "beside"), [(1, 3, 0), (2, 0, 0), (2, 1, 0), (2, 2, 2), (2, 5, 4), (3, 5, 3), (4, 3, 0)]
)
def test_everything_is_done_once_and_the_rest_here(workers: int, items: int, beside: int) -> None:
    done: dict[int, tuple[bool, bool]] = {}

    def work(item: int) -> None:
        assert item not in done
        done[item] = (beside_others(), threading.current_thread() is threading.main_thread())

    objects = SideBySide(workers)
    for _ in range(2):  # threads are kept
        done.clear()
        objects.each(work, range(items))
        assert done == {item: (item < beside, item >= beside) for item in range(items)}
    assert not beside_others()


def test_threads_are_at_it_together() -> None:
    """Each waits for the other."""
    meeting = threading.Barrier(2, timeout=20)
    SideBySide(2).each(lambda _: meeting.wait(), range(4))
    assert not meeting.broken


def test_what_goes_wrong_is_said_here() -> None:
    def work(item: int) -> None:
        raise ValueError(f"no object {item}")

    with pytest.raises(ValueError, match="no object 0"):
        SideBySide(2).each(work, range(2))


def test_what_all_wait_for_has_all_cores() -> None:
    seen = []

    def work(item: int) -> None:
        with on_all_cores():
            seen.append(beside_others())
        seen.append(beside_others())

    SideBySide(2).each(work, range(2))
    assert sorted(seen) == [False, False, True, True]


def test_the_shared_part_of_a_frame_is_computed_once() -> None:
    fake = FakeOrtModel()
    tracker = Tracker(replace(fake.networks(), workers=3))
    tracker.step(numbered_frame(0))
    for name in range(1, 8):
        tracker.prompt(name, **CLICK)
    for index in range(1, 4):
        tracker.step(numbered_frame(index))
    assert fake.called(Started) == [Started(1), Started(2), Started(3)]


@pytest.mark.parametrize("objects", [2, 3])
def test_the_answers_are_the_same(objects: int, small_bundle: Path) -> None:
    """On real graphs, streamed and in a video, to the rounding of products cut elsewhere; measured 0."""
    pytest.importorskip("onnxruntime")
    networks = Networks.open(small_bundle, threads=2, variant="ort")
    assert networks.workers == 2
    alone = replace(networks, workers=1)
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (40, 56, 3), np.uint8) for _ in range(5)]
    points = [{"points": [[10 + 9 * number, 20]], "labels": [1]} for number in range(objects)]

    trackers = [Tracker(networks), Tracker(alone)]
    for index, frame in enumerate(frames):
        results = [tracker.step(frame) for tracker in trackers]
        if index == 0:
            results = [[t.prompt(number, **point) for number, point in enumerate(points)][-1] for t in trackers]
        assert_equal(*results)

    logits = []
    for one in (networks, alone):
        predictor = VideoPredictor(one)
        state = predictor.init_state(frames)
        for number, point in enumerate(points):
            predictor.add_new_points_or_box(state, 0, number, **point)
        logits.append([found[2] for found in predictor.propagate_in_video(state)])
    np.testing.assert_allclose(*logits, rtol=0, atol=1e-4)
