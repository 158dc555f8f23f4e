"""J and F on values worked out by hand, by brute force, and by the SA-V evaluator."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from etam_onnx.evaluation.boundary import boundary_accuracy, outline, tolerance_radius
from etam_onnx.evaluation.region import region_similarity
from etam_onnx.evaluation.scores import score_sequence
from etam_onnx.runtime.label_maps import read_label_map

Mask = NDArray[np.bool_]


def square(size: int, start: int, stop: int) -> Mask:
    mask = np.zeros((size, size), dtype=np.bool_)
    mask[start:stop, start:stop] = True
    return mask


def test_region_is_intersection_over_union() -> None:
    assert region_similarity(square(20, 0, 4), square(20, 2, 6)) == 4 / (16 + 16 - 4)


@pytest.mark.parametrize("measure", [region_similarity, boundary_accuracy])
def test_empty_masks_agree_and_one_empty_mask_does_not(measure) -> None:
    empty = square(20, 0, 0)
    assert measure(empty, empty) == 1.0
    assert measure(empty, square(20, 3, 9)) == 0.0
    assert measure(square(20, 3, 9), empty) == 0.0


@pytest.mark.parametrize("measure", [region_similarity, boundary_accuracy])
def test_masks_of_two_sizes_are_refused(measure) -> None:
    with pytest.raises(ValueError, match=r"differ in size: \(20, 20\) against \(24, 24\)"):
        measure(square(20, 3, 9), square(24, 3, 9))


@pytest.mark.parametrize(("height", "width", "radius"), [(480, 854, 8), (480, 720, 7), (20, 20, 1), (1080, 1920, 18)])
def test_tolerance_is_a_fixed_part_of_the_diagonal(height: int, width: int, radius: int) -> None:
    assert tolerance_radius(height, width) == radius


def test_outline_leaves_out_the_image_border() -> None:
    assert not outline(np.ones((6, 8), dtype=np.bool_)).any()
    cut_by_border = np.zeros((4, 4), dtype=np.bool_)
    cut_by_border[:, 2:] = True
    expected = np.zeros((4, 4), dtype=np.bool_)
    expected[:, 1] = True
    assert np.array_equal(outline(cut_by_border), expected)


@pytest.mark.parametrize("seed", range(6))
def test_boundary_equals_dilation_by_a_disk(seed: int) -> None:
    generator = np.random.default_rng(seed)
    masks = [generator.random((90, 400)) > 0.999, generator.random((90, 400)) > 0.9985]
    prediction, truth = (dilated(mask, 3) for mask in masks)
    radius = tolerance_radius(90, 400)
    assert radius == 4
    predicted, expected = outline(prediction), outline(truth)
    precision = (predicted & dilated(expected, radius)).sum() / predicted.sum()
    recall = (expected & dilated(predicted, radius)).sum() / expected.sum()
    assert 0.05 < precision < 0.95
    assert boundary_accuracy(prediction, truth) == 2 * precision * recall / (precision + recall)


def dilated(mask: Mask, radius: int) -> Mask:
    """Every pixel within `radius` of a set pixel, by trying all of them."""
    grown = np.zeros_like(mask)
    ys, xs = np.indices(mask.shape)
    for y, x in np.argwhere(mask):
        grown |= (ys - y) ** 2 + (xs - x) ** 2 <= radius**2
    return grown


@pytest.mark.parametrize("sequence", ["blackswan", "car-shadow", "chair", "dog"])
@pytest.mark.parametrize("prediction", ["static", "shift"])
def test_scores_equal_those_of_the_sa_v_evaluator(
    sequence: str, prediction: str, reference_dir: Path, eval_video_dir: Path
) -> None:
    reference = json.loads((reference_dir / "jf_reference.json").read_text())["sequences"][sequence]
    truth = [read_label_map(path) for path in sorted((eval_video_dir / sequence / "masks").glob("*.png"))]
    if prediction == "static":
        predicted = [truth[0]] * len(truth)
    else:
        predicted = [np.roll(labels, (3, -5), (0, 1)) for labels in truth]
    for frames, all_frames in (("skip_ends", False), ("all_frames", True)):
        expected = reference[f"{prediction}/{frames}"]
        score = score_sequence(sequence, zip(predicted, truth, strict=True), all_frames=all_frames)[1]
        assert score.j == pytest.approx(expected["J"]["1"], abs=2e-13)
        assert score.f == pytest.approx(expected["F"]["1"], abs=2e-13)
