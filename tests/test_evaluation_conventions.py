"""Which frames count, format by format, and the overall score of YouTube-VOS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from written_videos import write_flat, write_meta

from etam_onnx.evaluation.categories import overall_of_videos, overall_score, seen_categories, unseen_videos
from etam_onnx.evaluation.conventions import CONVENTIONS
from etam_onnx.evaluation.layouts import read_dataset
from etam_onnx.evaluation.scores import Score, SequenceScorer, score_sequence
from etam_onnx.evaluation.sequences import Annotation, annotation_of

SQUARE = np.zeros((20, 20), np.bool_)
SQUARE[4:12, 4:12] = True
EMPTY = np.zeros_like(SQUARE)


def counted(format: str, truth: list[int], predicted: list[int], until: dict[int, int] | None = None) -> list[int]:
    """Which of the annotated frames 0, 5, 10 ... count for an object that truth and prediction show where 1 stands."""
    scorer = SequenceScorer(CONVENTIONS[format], until or {})
    for number, (shown, found) in enumerate(zip(truth, predicted, strict=True)):
        scorer.add(5 * number, {1: SQUARE if found else EMPTY}, Annotation({1: SQUARE} if shown else {}))
    result = scorer.result()
    if 1 not in result:
        return []
    return [frame for frame, counts in zip(result[1].frames, result[1].counted, strict=True) if counts]


@pytest.mark.parametrize(
    ("format", "expected"),
    [
        ("folders", [5, 10, 15]),
        ("davis", [5, 10, 15]),
        ("mose", [5, 10, 15]),
        ("sa-v", [5, 10, 15]),
        ("lvos", [0, 5, 10, 15, 20]),
        ("youtube-vos", [5, 10, 15, 20]),
    ],
)
def test_frames_that_count_for_an_object_of_the_first_frame(format: str, expected: list[int]) -> None:
    assert counted(format, [1] * 5, [1] * 5) == expected


@pytest.mark.parametrize(
    ("format", "expected"),
    [("mose", [10, 15]), ("sa-v", [10, 15]), ("lvos", [10, 15, 20]), ("youtube-vos", [15, 20])],
)
def test_frames_that_count_for_an_object_that_appears_later(format: str, expected: list[int]) -> None:
    assert counted(format, [0, 0, 1, 1, 0], [0, 0, 1, 1, 1]) == expected


def test_sa_v_knows_an_object_once_a_counting_frame_shows_it() -> None:
    assert counted("sa-v", [1, 0, 1, 1, 1], [1, 0, 1, 1, 1]) == [10, 15]
    assert counted("sa-v", [1, 0, 1, 1, 1], [1, 1, 1, 1, 1]) == [5, 10, 15]
    assert counted("sa-v", [1, 0, 0, 0, 1], [1, 1, 1, 1, 1]) == []
    assert counted("mose", [1, 0, 1, 1, 1], [1, 0, 1, 1, 1]) == [5, 10, 15]


def test_objects_of_sa_v_have_first_and_last_frames_of_their_own() -> None:
    scorer = SequenceScorer(CONVENTIONS["sa-v"])
    for frame in range(7):
        about = frozenset({1} | ({2} if 2 <= frame <= 5 else set()))
        scorer.add(frame, {1: SQUARE, 2: SQUARE}, Annotation({number: SQUARE for number in about}, about=about))
    found = scorer.result()
    assert found[1].counted == (False, *[True] * 5, False) and found[1].frames == tuple(range(7))
    assert found[2].frames == (2, 3, 4, 5) and found[2].counted == (False, True, True, False)


def test_lvos_stops_at_the_end_of_an_objects_range() -> None:
    assert counted("lvos", [1] * 5, [1] * 5, until={1: 15}) == [0, 5, 10]


def test_all_frames_can_be_asked_for() -> None:
    assert CONVENTIONS["youtube-vos"].with_all_frames().prompts
    assert CONVENTIONS["davis"].with_all_frames().counts(0, 5)


def test_void_pixels_are_taken_out_of_both_masks() -> None:
    labels = SQUARE.astype(np.uint8)
    labels[:, 12:] = 255
    predicted = SQUARE.copy()
    predicted[4:12, 12:18] = True
    scorer = SequenceScorer(CONVENTIONS["folders"])
    for frame in range(3):
        scorer.add(frame, {1: predicted}, annotation_of(labels, void=255))
    found = scorer.result()
    assert list(found) == [1]
    assert found[1].score == Score(100.0, 100.0)


def test_davis_counts_255_as_background() -> None:
    labels = SQUARE.astype(np.uint8)
    labels[4:12, 12:16] = 255
    predicted = SQUARE.astype(np.uint8)
    predicted[4:12, 12:16] = 1
    found = score_sequence("clip", [(predicted, labels)] * 3, convention=CONVENTIONS["davis"])
    assert list(found) == [1] and found[1].j == pytest.approx(100 * 64 / 96)


def test_a_masks_void_is_no_object_elsewhere() -> None:
    labels = np.full((4, 4), 255, np.uint8)
    assert list(annotation_of(labels).masks) == [255]
    assert not annotation_of(labels, void=255).masks


def test_lvos_weighs_seen_and_unseen_videos_alike(tmp_path: Path) -> None:
    scores = {"a": {1: Score(80.0, 70.0), 2: Score(60.0, 50.0)}, "b": {1: Score(20.0, 40.0)}}
    assert unseen_videos(tmp_path) is None
    (tmp_path / "unseen_videos.txt").write_text("b\nz\n")
    unseen = unseen_videos(tmp_path)
    assert unseen == {"b", "z"}
    expected = {"J_seen": 70.0, "F_seen": 60.0, "J_unseen": 20.0, "F_unseen": 40.0, "G": 47.5}
    assert overall_of_videos(scores, unseen) == expected


def test_g_weighs_seen_and_unseen_categories_alike(tmp_path: Path) -> None:
    valid = tmp_path / "valid"
    write_flat(valid, "a", {1: 0, 2: 0})
    write_flat(valid, "b", {1: 0})
    write_meta(
        valid / "meta.json", {"a": {1: {"category": "cat"}, 2: {"category": "yak"}}, "b": {1: {"category": "cat"}}}
    )
    sequences = read_dataset(valid).sequences
    assert seen_categories(valid) is None
    write_meta(tmp_path / "train" / "meta.json", {"z": {1: {"category": "cat"}, 2: {"category": "dog"}}})
    seen = seen_categories(valid)
    assert seen == {"cat", "dog"}
    scores = {"a": {1: Score(80.0, 70.0), 2: Score(20.0, 40.0)}, "b": {1: Score(60.0, 50.0)}}
    assert overall_score(scores, sequences, seen) == {
        "J_seen": 70.0,
        "F_seen": 60.0,
        "J_unseen": 20.0,
        "F_unseen": 40.0,
        "G": 47.5,
    }
    assert overall_score({"b": scores["b"]}, sequences, seen) == {"J_seen": 60.0, "F_seen": 50.0, "G": 55.0}
    with pytest.raises(FileNotFoundError, match="there is no file"):
        seen_categories(valid, tmp_path / "meta.json")
