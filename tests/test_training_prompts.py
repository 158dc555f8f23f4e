"""Simulated users: where clicks and boxes fall, and what a step does with them."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs PyTorch: pip install 'etam-onnx[train]'")
pytest.importorskip("cv2", reason="training clips need OpenCV: pip install 'etam-onnx[train]'")

from etam_onnx.training.course import Course, divisors, draw_course
from etam_onnx.training.prompts import corrective_click, first_click, loose_box, uniform_click
from etam_onnx.training.recipes import IMAGES, NANO, VIDEO, Losses


def randoms(count: int, seed: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, index]) for index in range(count)]


@pytest.mark.parametrize("uniform", [False, True])
def test_first_click_is_inside_and_missing_for_an_empty_mask(uniform: bool) -> None:
    masks = np.zeros((2, 40, 40), bool)
    masks[0, 10:20, 25:30] = True
    for seed in range(20):
        points = first_click(masks, randoms(2, seed), uniform)
        x, y = points.xy[0, 0].int().tolist()
        assert masks[0, y, x]
        assert points.labels.tolist() == [[1], [-1]]


def test_the_prompt_of_an_object_does_not_depend_on_its_neighbours() -> None:
    masks = np.zeros((3, 40, 40), bool)
    masks[0, 3:9, 3:9], masks[1, 20:30, 5:15], masks[2, 10:14, 30:38] = True, True, True
    for draw in (first_click, loose_box):
        together = draw(masks, randoms(3)).xy
        for index in range(3):
            alone = draw(masks[index : index + 1], randoms(3)[index : index + 1]).xy
            assert together[index].tolist() == alone[0].tolist()


def test_corrective_click_hits_what_is_missing_or_too_much() -> None:
    true = np.zeros((2, 10, 10), bool)
    true[:, 2:6, 2:6] = True
    predicted = true.copy()
    predicted[0, 2:6, 4:6] = False  # misses the right half
    predicted[1, 7:9, 7:9] = True  # adds a corner
    points = corrective_click(predicted, true, 4, randoms(2))
    assert points.labels.tolist() == [[1], [0]]
    for index in range(2):
        x, y = (int((value + 0.5) / 4) for value in points.xy[index, 0].tolist())
        assert predicted[index, y, x] != true[index, y, x]


def test_uniform_clicks_fall_on_every_wrong_pixel_and_nowhere_else() -> None:
    true = np.zeros((1, 8, 8), bool)
    true[0, 2:5, 2:5] = True
    predicted = np.zeros((1, 8, 8), bool)
    predicted[0, 2:5, 3:6] = True  # misses three pixels and adds three
    hit = set()
    for seed in range(200):
        points = uniform_click(predicted, true, 0.0, randoms(1, seed))
        x, y = (int(value) for value in points.xy[0, 0].tolist())
        assert points.labels[0, 0] == int(true[0, y, x])
        hit.add((x, y))
    assert hit == {(x, y) for x in (2, 5) for y in (2, 3, 4)}


def test_uniform_clicks_from_the_truth_and_without_any_error() -> None:
    true = np.zeros((1, 8, 8), bool)
    true[0, 2:5, 2:5] = True
    nothing, all_over = np.zeros_like(true), np.ones_like(true)
    for seed in range(20):
        x, y = uniform_click(~true, true, 1.0, randoms(1, seed)).xy[0, 0].int().tolist()
        assert true[0, y, x]
        assert uniform_click(true, true, 0.0, randoms(1, seed)).labels.tolist() == [[0]]
        assert uniform_click(all_over, all_over, 0.0, randoms(1, seed)).labels.tolist() == [[1]]
        assert uniform_click(all_over, nothing, 1.0, randoms(1, seed)).labels.tolist() == [[0]]


def test_loose_boxes_are_near_the_bounding_box() -> None:
    mask = np.zeros((1, 600, 600), bool)
    mask[0, 20:61, 30:71] = True
    points = loose_box(mask, randoms(1))
    assert points.labels.tolist() == [[2, 3]]
    assert np.abs(points.xy[0].numpy() - [[30, 20], [70, 60]]).max() <= 4.1
    mask[0, 20:520, 30:530] = True
    shifts = [loose_box(mask, randoms(1, seed), uniform=True).xy[0].numpy() for seed in range(50)]
    largest = np.abs(np.array(shifts) - [[30, 20], [529, 519]]).max()
    assert 18 < largest <= 20


def test_points_append_in_order() -> None:
    mask = np.ones((1, 8, 8), bool)
    first, second = first_click(mask, randoms(1)), loose_box(mask, randoms(1))
    both = first.and_then(second)
    assert both.labels.tolist() == [[1, 2, 3]] and len(both) == 3


def courses(recipe, frames: int, count: int = 4000) -> list[Course]:
    return [draw_course(np.random.default_rng([1, i]), frames, recipe.prompting) for i in range(count)]


def test_video_is_prompted_as_sam_2_is() -> None:
    drawn = courses(VIDEO, 8)
    share = {kind: sum(c.kind == kind for c in drawn) / len(drawn) for kind in ("mask", "click", "box")}
    assert share == {
        "mask": pytest.approx(0.5, abs=0.03),
        "click": pytest.approx(0.25, abs=0.03),
        "box": pytest.approx(0.25, abs=0.03),
    }
    assert all(set(c.clicks) == {0} for c in drawn if c.kind == "mask")
    with_points = [c for c in drawn if c.kind != "mask"]
    assert all(c.clicks[0] == 7 and set(c.clicks) <= {0, 7} for c in with_points)
    corrected = [sum(n > 0 for n in c.clicks) for c in with_points]
    assert set(corrected) == {1, 2} and np.mean(corrected) == pytest.approx(1.5, abs=0.05)


def test_single_images_get_a_click_or_a_box_and_seven_corrections() -> None:
    drawn = courses(IMAGES, 1, 400)
    assert {c.kind for c in drawn} == {"click", "box"} and {c.clicks for c in drawn} == {(7,)}


def test_the_small_default_is_prompted_mostly_by_masks() -> None:
    drawn = courses(NANO, 4)
    assert np.mean([c.kind == "mask" for c in drawn]) == pytest.approx(0.7, abs=0.03)
    assert np.mean([any(c.clicks[1:]) for c in drawn]) == pytest.approx(0.12, abs=0.02)
    assert np.mean([c.every_frame is not None for c in drawn if c.kind == "mask"]) == pytest.approx(0.5, abs=0.04)
    assert all(c.clicks[0] == 0 for c in drawn if c.kind == "box")


def test_memories_are_taught_as_often_as_asked() -> None:
    rng = np.random.default_rng(0)
    taught = [share for _ in range(500) for share in draw_course(rng, 4, NANO.prompting, 0.3).taught]
    assert np.mean(taught) == pytest.approx(0.3, abs=0.04)
    assert all(draw_course(rng, 4, NANO.prompting, 1.0).taught)


def test_terms_are_divided_by_what_is_decoded() -> None:
    present = np.array([[True, True, False], [True, False, False]])
    seen = Losses(average="seen", mask_prompt=0.3)
    clicked = Course("click", (2, 0, 1), (False,) * 3)
    # Frame 0 is decoded three times, frame 1 once, frame 2 twice.
    assert divisors(clicked, present, seen) == {"mask": 7, "iou": 7, "presence": 12}
    masked = Course("mask", (0, 0, 0), (False,) * 3, "click")
    # Frames 1 and 2 once, all three with a third, and the mask of frame 0 is decoded for mask and presence.
    found = divisors(masked, present, seen)
    assert found == pytest.approx({"mask": 1 + 3 / 3 + 2, "iou": 1 + 3 / 3, "presence": 4 + 2 + 2})
    assert divisors(clicked, present, Losses()) == {"mask": 2, "iou": 2, "presence": 2}
