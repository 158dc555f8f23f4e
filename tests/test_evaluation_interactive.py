"""Correcting with clicks: which frames are chosen, where the clicks go, and what is scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_networks import FakeModel, numbered_frame
from written_videos import SIZE_HW, ColourPredictor, ColourState, make_sequence, save, scene

from etam_onnx import VideoPredictor
from etam_onnx.evaluation.conventions import CONVENTIONS
from etam_onnx.evaluation.interactive import Interaction, interact, mean_by_frames
from etam_onnx.evaluation.layouts import read_dataset
from etam_onnx.evaluation.report import runs_as_json, runs_as_table
from etam_onnx.evaluation.scores import Score
from etam_onnx.evaluation.semi_supervised import track_sequence
from etam_onnx.evaluation.tracked import score_tracked

DAVIS = CONVENTIONS["folders"]


class ForgetfulPredictor(ColourPredictor):
    """Finds the object only where it was clicked on and for `reach` frames after it; elsewhere a corner of it."""

    def __init__(self, reach: int, corners: dict[int, int]) -> None:
        super().__init__()
        self.reach = reach
        self.corners = corners
        self.prompted: set[int] = set()
        self.passes: list[int] = []

    def reset_state(self, state: ColourState) -> None:
        super().reset_state(state)
        self.prompted.clear()

    def add_new_points_or_box(self, state: ColourState, frame: int, object_id: int, **prompt):
        self.prompted.add(frame)
        return super().add_new_points_or_box(state, frame, object_id, **prompt)

    def propagate_in_video(self, state: ColourState, start_frame_idx: int):
        self.passes.append(start_frame_idx)
        yield from super().propagate_in_video(state, start_frame_idx)

    def _logits(self, state: ColourState, number: int):
        logits = super()._logits(state, number)
        if not any(0 <= number - frame <= self.reach for frame in self.prompted):
            logits[..., 4 + self.corners.get(number, 8) :, :] = -1
        return logits


def test_offline_the_worst_frame_is_next_and_the_whole_video_is_done_again(tmp_path: Path) -> None:
    sequence = make_sequence(tmp_path, {3: 0}, n_frames=10)
    predictor = ForgetfulPredictor(reach=2, corners={6: 2, 9: 4})
    ((object_id, run),) = interact(predictor, sequence, DAVIS, "offline", most_frames=4)
    assert object_id == 3
    assert run.frames == (0, 6, 9, 3)
    assert predictor.passes == [0, 0, 0, 0]
    # The first click gives a perfect mask, so none is left to give; a corner is corrected by one click as well.
    assert run.clicks == (1, 1, 1, 1)
    assert [score.j for score in run.scores] == pytest.approx(
        [100 * j / 8 for j in (2 + 5 * 0.5 + 2 / 16, 6.5, 6.5, 8)]
    )


def test_online_the_video_pauses_at_the_first_lost_frame_and_goes_on_from_there(tmp_path: Path) -> None:
    sequence = make_sequence(tmp_path, {3: 0}, n_frames=10)
    predictor = ForgetfulPredictor(reach=2, corners={3: 13, 6: 2})
    ((_, run),) = interact(predictor, sequence, DAVIS, "online", most_frames=8)
    # Frame 3 is good enough at 13 of 16 rows; 4 is not. What lies behind a pause is never looked at again.
    assert run.frames == (0, 4, 7)
    assert predictor.passes == [0, 4, 7]
    assert len(run.scores) == 8
    third = 100 * (7 + 13 / 16) / 8
    assert [score.j for score in run.scores[2:]] == pytest.approx([third] * 6)


def test_a_perfect_object_needs_no_more_clicks(tmp_path: Path) -> None:
    sequence = make_sequence(tmp_path, {3: 0, 8: 2})
    for mode in ("offline", "online"):
        predictor = ColourPredictor()
        runs = dict(interact(predictor, sequence, DAVIS, mode))
        assert {number: run.frames for number, run in runs.items()} == {3: (0,), 8: (2,)}
        assert all(run.scores == (Score(100.0, 100.0),) * 8 for run in runs.values())
        assert [click[:2] + click[4:] for click in predictor.clicks] == [(0, 3, 1), (2, 8, 1)]


def test_a_ghost_is_clicked_away(tmp_path: Path) -> None:
    sequence = make_sequence(tmp_path, {3: 0}, n_frames=6)
    save(sequence.truth.paths[4], np.zeros(SIZE_HW, np.uint8))  # says that the object is not there
    predictor = ColourPredictor()
    ((_, run),) = interact(predictor, sequence, DAVIS, "offline", most_frames=2)
    assert run.frames == (0, 4) and run.clicks == (1, 3)
    ghost = scene(4, {3: 0})[1]
    for frame, _, x, y, label in predictor.clicks[1:]:
        assert (frame, label) == (4, 0) and ghost[y, x] == 3


def test_one_frame_of_three_clicks_is_the_prompt_of_three_clicks(tmp_path: Path) -> None:
    make_sequence(tmp_path, {3: 0, 8: 2}, n_frames=8)
    for number in range(8):
        save(tmp_path / "clip" / "images" / f"{number:05d}.png", numbered_frame(number, *SIZE_HW))
    (sequence,) = read_dataset(tmp_path).sequences
    predictor = VideoPredictor(FakeModel().networks())
    masks = track_sequence(predictor, sequence, "clicks3")
    expected = score_tracked(sequence, masks, DAVIS).objects
    for mode in ("offline", "online"):
        runs = dict(interact(predictor, sequence, DAVIS, mode, most_frames=3))
        assert {number: run.scores[0] for number, run in runs.items()} == {
            number: scored.score for number, scored in expected.items()
        }
        assert all(run.frames[0] == start for run, start in zip(runs.values(), (0, 2), strict=True))
        assert all(len(set(run.frames)) == len(run.frames) == 3 for run in runs.values())


def test_the_report_averages_over_objects_and_frames() -> None:
    def run(*values: float) -> Interaction:
        return Interaction((0, 5), (3, 2), tuple(Score(value, value - 10) for value in values))

    runs = {"a": {1: run(50.0, 70.0), 2: run(30.0, 30.0)}, "b": {1: run(70.0, 80.0)}}
    assert mean_by_frames([run for objects in runs.values() for run in objects.values()]) == [
        Score(50.0, 40.0),
        Score(60.0, 50.0),
    ]
    report = runs_as_json(runs)
    assert report["mean"] == {"J": 55.0, "F": 45.0, "J&F": 50.0}
    assert report["sequences"]["a"]["1"]["J"] == 60.0
    assert report["sequences"]["a"]["1"]["frames"] == [0, 5]
    assert [row["J&F"] for row in report["by_frames"]] == [45.0, 55.0]
    assert runs_as_table({"online": runs}).splitlines()[::2] == [
        "J&F     1 frame  2 frames  mean",
        "online     45.0      55.0  50.0",
    ]
