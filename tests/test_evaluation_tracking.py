"""Tracking annotated sequences: prompts, overlaps, objects that appear later, and the baselines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_networks import FakeModel, numbered_frame
from PIL import Image
from written_videos import SIZE_HW, ColourPredictor, make_sequence, save, scene, write_sa_v, write_video

from etam_onnx import VideoPredictor
from etam_onnx.evaluation.baselines import copy_first_mask, warp_by_flow
from etam_onnx.evaluation.conventions import CONVENTIONS
from etam_onnx.evaluation.layouts import read_dataset
from etam_onnx.evaluation.overlaps import Ownership
from etam_onnx.evaluation.prompts import PROMPTS
from etam_onnx.evaluation.semi_supervised import click_object, track_sequence
from etam_onnx.evaluation.sequences import AnnotatedSequence
from etam_onnx.evaluation.tracked import score_tracked
from etam_onnx.runtime.label_maps import read_label_map


def truths(sequence: AnnotatedSequence) -> list[np.ndarray]:
    """Label maps of all frames."""
    return [read_label_map(path) for path in sequence.truth.paths.values()]


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("entries", [{3: 0}, {3: 0, 8: 0}, {3: 0, 8: 3}, {8: 2}])
def test_every_object_is_tracked_from_its_first_frame(tmp_path: Path, prompt, entries: dict[int, int]) -> None:
    sequence = make_sequence(tmp_path, entries)
    tracked = list(track_sequence(ColourPredictor(), sequence, prompt))
    assert len(tracked) == 6
    for found, truth in zip(tracked, truths(sequence), strict=True):
        assert set(np.unique(truth)) - {0} <= set(found)
        for object_id, mask in found.items():
            assert np.array_equal(mask, truth == object_id)


class RecordingPredictor(VideoPredictor):
    """Writes down the logits of every object on every frame."""

    logits: dict[tuple[int, int], np.ndarray]

    def propagate_in_video(self, *arguments, **options):
        self.logits = {}
        for frame, ids, logits_n1hw in super().propagate_in_video(*arguments, **options):
            self.logits |= {(frame, number): logits for number, logits in zip(ids, logits_n1hw[:, 0], strict=True)}
            yield frame, ids, logits_n1hw


@pytest.mark.parametrize("prompt", ["mask", "box", "clicks3"])
def test_an_object_that_joins_later_is_tracked_as_if_it_were_alone(tmp_path: Path, prompt) -> None:
    logits = []
    for name, entries in (("both", {3: 0, 8: 4}), ("alone", {3: 99, 8: 4})):
        write_video(tmp_path / name / "images", tmp_path / name / "masks", entries, n_frames=12)
        for number in range(12):
            save(tmp_path / name / "images" / f"{number:05d}.png", numbered_frame(number, *SIZE_HW))
        (sequence,) = read_dataset(tmp_path, names=[name]).sequences
        predictor = RecordingPredictor(FakeModel().networks(), release_passed_frames=name == "both")
        found = list(track_sequence(predictor, sequence, prompt))
        assert [8 in masks for masks in found] == [frame >= 4 for frame in range(12)]
        logits.append(predictor.logits)
    both, alone = logits
    assert set(alone) == {(frame, 8) for frame in range(4, 12)}
    for key in alone:
        assert np.array_equal(both[key], alone[key])


def test_clicks_correct_the_answer_before() -> None:
    predictor = ColourPredictor()
    frame, labels = scene(0, {3: 0, 8: 0})
    state = predictor.init_state([frame])
    truth = labels == 3
    truth[20:26, 25:31] = True  # background that belongs to the object: its colour takes all of the background
    clicks = click_object(predictor, state, 0, 3, truth, 3)
    assert [click.label for click in clicks] == [1, 1, 0]
    assert labels[int(clicks[0].y), int(clicks[0].x)] == 3
    assert truth[int(clicks[1].y), int(clicks[1].x)] and not labels[int(clicks[1].y), int(clicks[1].x)]
    assert not truth[int(clicks[2].y), int(clicks[2].x)]


def test_objects_of_sa_v_may_overlap(tmp_path: Path) -> None:
    write_sa_v(tmp_path, "sav_000001", {1: 0, 2: 0})
    for path in (tmp_path / "Annotations_6fps" / "sav_000001" / "001").iterdir():
        number = int(path.stem)
        Image.fromarray((scene(number, {1: 0})[1] > 0).astype(np.uint8)).save(path)  # both objects are the same one
    dataset = read_dataset(tmp_path)
    tracked = score_tracked(
        dataset.sequences[0], track_sequence(ColourPredictor(), dataset.sequences[0]), dataset.convention
    )
    assert {object_id: scored.score.j for object_id, scored in tracked.objects.items()} == {0: 100.0, 1: 100.0}
    assert tracked.objects[0].frames == (0, 4, 8, 12, 16)
    assert tracked.objects[0].counted == (False, True, True, True, False)


def test_frames_and_masks_of_two_sizes_are_refused(tmp_path: Path) -> None:
    sequence = make_sequence(tmp_path, {3: 0})
    for path in sequence.truth.paths.values():
        Image.fromarray(np.pad(read_label_map(path), 1)).save(path)
    with pytest.raises(ValueError, match=r"sequence clip: mask 00000\.png is 66x50 pixels, the frames 64x48"):
        list(track_sequence(ColourPredictor(), sequence, "box"))


def test_a_sequence_without_objects_is_refused(tmp_path: Path) -> None:
    sequence = make_sequence(tmp_path, {})
    with pytest.raises(ValueError, match="sequence clip: no object is annotated"):
        list(track_sequence(ColourPredictor(), sequence))


def test_the_highest_score_owns_a_pixel() -> None:
    ownership = Ownership((1, 4))
    ownership.add([5, 2], np.array([[[3.0, -1.0, 1.0, 2.0]], [[1.0, -2.0, 4.0, 2.0]]], dtype=np.float32))
    assert ownership.labels.tolist() == [[5, 0, 2, 5]]
    ownership.add([9], np.array([[[2.0, 0.5, 5.0, -3.0]]], dtype=np.float32))
    assert ownership.labels.tolist() == [[5, 9, 9, 5]]


def test_the_worst_frames_are_kept(tmp_path: Path) -> None:
    sequence = make_sequence(tmp_path, {3: 0}, n_frames=8)
    empty = np.zeros(sequence.size_hw, np.bool_)
    masks = [{3: empty if frame in (0, 3, 7) else labels == 3} for frame, labels in enumerate(truths(sequence))]
    tracked = score_tracked(sequence, masks, CONVENTIONS["folders"])
    assert tracked.objects[3].score.j == pytest.approx(100 * 5 / 6)
    assert [(worst.frame, worst.j) for worst in tracked.worst] == [(1, 100.0), (3, 0.0), (6, 100.0)]
    assert not tracked.worst[1].masks[3].any()


def test_the_copied_mask_stays(tmp_path: Path) -> None:
    sequence = make_sequence(tmp_path, {3: 0, 8: 2})
    truth = truths(sequence)
    copied = list(copy_first_mask(sequence))
    assert set(copied[1]) == {3}
    assert np.array_equal(copied[5][3], truth[0] == 3)
    assert np.array_equal(copied[5][8], truth[2] == 8)


def test_flow_starts_each_object_at_its_first_frame(tmp_path: Path) -> None:
    sequence = make_sequence(tmp_path, {3: 0, 8: 2})
    warped = list(warp_by_flow(sequence))
    truth = truths(sequence)
    assert np.array_equal(warped[0][3], truth[0] == 3)
    assert np.array_equal(warped[2][8], truth[2] == 8)


def test_baselines_on_a_real_sequence(eval_video_dir: Path) -> None:
    (sequence,) = read_dataset(eval_video_dir, names=["car-shadow"]).sequences
    copied = score_tracked(sequence, copy_first_mask(sequence), CONVENTIONS["folders"]).objects[1].score
    warped = score_tracked(sequence, warp_by_flow(sequence), CONVENTIONS["folders"]).objects[1].score
    assert copied.j == pytest.approx(40.77014320, abs=1e-8)
    assert warped.j == pytest.approx(60.61, abs=0.02)
    assert warped.f == pytest.approx(56.43, abs=0.02)
