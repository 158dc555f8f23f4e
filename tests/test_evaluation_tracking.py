"""Tracking annotated sequences: prompts, overlaps, objects that appear later, and the baselines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from etam_onnx.evaluation.baselines import copy_first_mask, warp_by_flow
from etam_onnx.evaluation.label_maps import LabelMap, read_label_map
from etam_onnx.evaluation.overlaps import Ownership
from etam_onnx.evaluation.scores import score_sequence
from etam_onnx.evaluation.semi_supervised import track_sequence
from etam_onnx.evaluation.sequences import AnnotatedSequence, find_annotated_sequences

SIZE_HW = (48, 64)
COLOURS = {3: (220, 30, 30), 8: (30, 30, 220)}


@dataclass
class ColourState:
    frames: list[NDArray[np.int16]]
    colours: dict[int, NDArray[np.float64]] = field(default_factory=dict)


class ColourPredictor:
    """Tracks flat colours through the video predictor's methods, starting where it is told to."""

    def init_state(self, video: Sequence[NDArray[np.uint8]]) -> ColourState:
        return ColourState([frame.astype(np.int16) for frame in video])

    def reset_state(self, state: ColourState) -> None:
        state.colours.clear()

    def add_new_mask(self, state: ColourState, frame: int, object_id: int, mask: NDArray[np.bool_]) -> None:
        state.colours[object_id] = state.frames[frame][mask].mean(axis=0)

    def add_new_points_or_box(
        self,
        state: ColourState,
        frame: int,
        object_id: int,
        points: NDArray[np.float32] | None = None,
        labels: NDArray[np.int32] | None = None,
        box: NDArray[np.float32] | None = None,
    ) -> None:
        if box is not None:
            x, y = (box[:2] + box[2:]) / 2
        else:
            assert points is not None and labels is not None and labels.tolist() == [1]
            x, y = points[0]
        state.colours[object_id] = state.frames[frame][int(y), int(x)].astype(np.float64)

    def propagate_in_video(
        self, state: ColourState, start_frame_idx: int
    ) -> Iterator[tuple[int, list[int], NDArray[np.float32]]]:
        for number in range(start_frame_idx, len(state.frames)):
            distances = [np.abs(state.frames[number] - colour).max(axis=2) for colour in state.colours.values()]
            logits = 60 - np.stack(distances)[:, None].astype(np.float32)
            yield number, list(state.colours), logits


def make_sequence(root: Path, entries: dict[int, int], n_frames: int = 6) -> AnnotatedSequence:
    """Squares of flat colour that move right by two pixels a frame; `entries` is object id -> first frame."""
    for number in range(n_frames):
        frame = np.full((*SIZE_HW, 3), 120, dtype=np.uint8)
        labels = np.zeros(SIZE_HW, dtype=np.uint8)
        for row, (object_id, start) in enumerate(entries.items()):
            if number >= start:
                square = np.s_[4 + 22 * row : 20 + 22 * row, 5 + 2 * number : 25 + 2 * number]
                frame[square], labels[square] = COLOURS[object_id], object_id
        for folder in ("images", "masks"):
            (root / "clip" / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(frame).save(root / "clip" / "images" / f"{number:05d}.png")
        Image.fromarray(labels).save(root / "clip" / "masks" / f"{number:05d}.png")
    (sequence,) = find_annotated_sequences(root)
    return sequence


def annotations(sequence: AnnotatedSequence) -> list[LabelMap]:
    return [read_label_map(path) for path in sequence.masks.values()]


@pytest.mark.parametrize("prompt", ["mask", "click", "box"])
@pytest.mark.parametrize("entries", [{3: 0}, {3: 0, 8: 0}, {3: 0, 8: 3}, {8: 2}])
def test_every_object_is_tracked_from_its_first_frame(tmp_path: Path, prompt, entries: dict[int, int]) -> None:
    sequence = make_sequence(tmp_path, entries)
    tracked = list(track_sequence(ColourPredictor(), sequence, prompt))
    assert len(tracked) == 6
    for labels, truth in zip(tracked, annotations(sequence), strict=True):
        assert np.array_equal(labels, truth)


def test_frames_and_masks_of_two_sizes_are_refused(tmp_path: Path) -> None:
    sequence = make_sequence(tmp_path, {3: 0})
    for path in sequence.masks.values():
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


def test_the_copied_mask_stays(tmp_path: Path) -> None:
    sequence = make_sequence(tmp_path, {3: 0, 8: 2})
    truth = annotations(sequence)
    copied = list(copy_first_mask(sequence))
    assert np.array_equal(copied[1], truth[0])
    assert np.array_equal(copied[5] == 3, truth[0] == 3)
    assert np.array_equal(copied[5] == 8, truth[2] == 8)


def test_flow_starts_each_object_at_its_first_frame(tmp_path: Path) -> None:
    sequence = make_sequence(tmp_path, {3: 0, 8: 2})
    warped = list(warp_by_flow(sequence))
    truth = annotations(sequence)
    assert np.array_equal(warped[0], truth[0])
    assert np.array_equal(warped[2] == 8, truth[2] == 8)


def test_baselines_on_a_real_sequence(eval_video_dir: Path) -> None:
    (sequence,) = find_annotated_sequences(eval_video_dir, ["car-shadow"])
    truth = annotations(sequence)
    copied = score_sequence("car-shadow", zip(copy_first_mask(sequence), truth, strict=True))[1]
    warped = score_sequence("car-shadow", zip(warp_by_flow(sequence), truth, strict=True))[1]
    assert copied.j == pytest.approx(40.77014320, abs=1e-8)
    assert warped.j == pytest.approx(60.61, abs=0.02)
    assert warped.f == pytest.approx(56.43, abs=0.02)
