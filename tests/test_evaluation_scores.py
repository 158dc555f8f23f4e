"""How frames and objects are put together into one score."""

from __future__ import annotations

import numpy as np
import pytest

from etam_onnx.evaluation.report import scores_as_json, scores_as_table
from etam_onnx.evaluation.scores import Score, mean_score, score_sequence
from etam_onnx.runtime.label_maps import LabelMap


def frame(**rows: int) -> LabelMap:
    """A 40 x 40 label map with 10 x 10 squares: keyword `o7=3` puts object 7 at row 3."""
    labels = np.zeros((40, 40), dtype=np.uint8)
    for position, (name, row) in enumerate(rows.items()):
        labels[row : row + 10, 15 * position : 15 * position + 10] = int(name.removeprefix("o"))
    return labels


def test_first_and_last_frames_do_not_count_by_default() -> None:
    truth = [frame(o1=5)] * 4
    predicted = [frame(o1=25), frame(o1=5), frame(o1=5), frame(o1=25)]
    assert score_sequence("clip", zip(predicted, truth, strict=True)) == {1: Score(100.0, 100.0)}
    everything = score_sequence("clip", zip(predicted, truth, strict=True), all_frames=True)
    assert everything == {1: Score(50.0, 50.0)}


def test_ids_may_have_gaps_and_are_scored_apart() -> None:
    truth = [frame(o3=5, o200=5)] * 3
    predicted = [frame(o3=5, o200=25)] * 3
    scores = score_sequence("clip", zip(predicted, truth, strict=True))
    assert scores == {3: Score(100.0, 100.0), 200: Score(0.0, 0.0)}


def test_an_absent_object_counts_as_perfect_when_nothing_is_predicted() -> None:
    truth = [frame(o1=5), frame(), frame(), frame(o1=5)]
    predicted = [frame(o1=5), frame(), frame(o1=5), frame(o1=5)]
    assert score_sequence("clip", zip(predicted, truth, strict=True))[1].j == 50.0


def test_an_object_counts_from_the_first_frame_that_shows_it() -> None:
    truth = [frame(o1=5), frame(o1=5), frame(o1=5, o2=5), frame(o1=5, o2=5), frame(o1=5, o2=5)]
    predicted = [frame(o1=5), frame(o1=5), frame(o1=5, o2=5), frame(o1=5), frame(o1=5)]
    scores = score_sequence("clip", zip(predicted, truth, strict=True))
    assert scores[1].j == 100.0
    assert scores[2].j == 50.0


def test_ids_that_are_never_annotated_are_ignored() -> None:
    scores = score_sequence("clip", [(frame(o1=5, o9=5), frame(o1=5))] * 3)
    assert scores == {1: Score(100.0, 100.0)}


def test_nothing_to_score_is_an_error() -> None:
    with pytest.raises(ValueError, match="sequence clip: of 2 frames nothing is left"):
        score_sequence("clip", [(frame(o1=5), frame(o1=5))] * 2)
    with pytest.raises(ValueError, match="sequence clip: no object is annotated on any of 3 frames"):
        score_sequence("clip", [(frame(o1=5), frame())] * 3)


def test_the_mean_counts_every_object_once() -> None:
    scores = {"a": {1: Score(60.0, 30.0), 2: Score(90.0, 60.0)}, "b": {7: Score(30.0, 0.0)}}
    report = scores_as_json(scores)
    assert report["sequences"]["a"]["2"] == {"J": 90.0, "F": 60.0}
    assert report["mean"] == {"J": 60.0, "F": 30.0, "J&F": 45.0}
    assert mean_score(scores["a"].values()) == Score(75.0, 45.0)


def test_the_table_is_aligned() -> None:
    scores = {"long-name": {1: Score(60.0, 30.0)}, "b": {7: Score(100.0, 0.04)}}
    assert scores_as_table({"model": scores, "copy": scores}).splitlines() == [
        "sequence   objects  model J  model F  copy J  copy F",
        "---------  -------  -------  -------  ------  ------",
        "long-name  1           60.0     30.0    60.0    30.0",
        "b          1          100.0      0.0   100.0     0.0",
        "mean       2           80.0     15.0    80.0    15.0",
    ]
