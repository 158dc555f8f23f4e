"""Clicks and boxes made from masks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from etam_onnx.evaluation.depth import deepest_point, depth_inside
from etam_onnx.evaluation.prompts import box_around, click_inside, corrective_click


def rectangle(rows: slice, columns: slice, shape: tuple[int, int] = (30, 40)) -> np.ndarray:
    mask = np.zeros(shape, dtype=np.bool_)
    mask[rows, columns] = True
    return mask


def test_the_box_runs_from_first_to_last_pixel() -> None:
    assert box_around(rectangle(slice(4, 9), slice(11, 31))) == (11.0, 4.0, 30.0, 8.0)


def test_the_click_is_the_middle_of_a_rectangle() -> None:
    assert click_inside(rectangle(slice(4, 9), slice(11, 32))) == (21.0, 6.0)


def test_the_click_avoids_the_hole_of_a_ring() -> None:
    ys, xs = np.indices((101, 101))
    distance = np.hypot(ys - 50, xs - 50)
    ring = (distance < 45) & (distance > 25)
    x, y = click_inside(ring)
    assert abs(np.hypot(y - 50, x - 50) - 35) < 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (2, 2), (37, 5)])
def test_the_click_lies_inside_thin_masks(shape: tuple[int, int]) -> None:
    full = np.ones(shape, dtype=np.bool_)
    x, y = click_inside(full)
    assert full[int(y), int(x)]
    assert abs(x - (shape[1] - 1) / 2) <= 0.5 + 1e-9 and abs(y - (shape[0] - 1) / 2) <= 0.5 + 1e-9


@pytest.mark.parametrize("filled", [0.5, 0.9, 0.99, 0.9995])
@pytest.mark.parametrize("seed", range(3))
def test_depth_is_the_euclidean_distance_to_the_outside(seed: int, filled: float) -> None:
    mask = np.random.default_rng(seed).random((70, 90)) < filled
    mask[:, :8] = False
    expected = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    assert np.array_equal(depth_inside(mask), expected)
    (x, y), deepest = deepest_point(mask)
    assert deepest == expected.max() == expected[int(y), int(x)]


def test_what_lies_beyond_the_image_is_outside() -> None:
    depth = depth_inside(np.ones((5, 9), dtype=np.bool_))
    assert depth[2].tolist() == [1, 2, 3, 3, 3, 3, 3, 2, 1]


def test_a_correction_goes_to_the_deeper_of_the_two_errors() -> None:
    truth = rectangle(slice(5, 25), slice(2, 14))
    missing = rectangle(slice(5, 25), slice(2, 9))
    assert corrective_click(missing, truth) == (11.0, 14.0, 1) or corrective_click(missing, truth) == (11.0, 15.0, 1)
    surplus = missing | rectangle(slice(10, 19), slice(20, 39))
    x, y, label = corrective_click(surplus, truth) or (0, 0, -1)
    assert (label, y) == (0, 14.0) and surplus[int(y), int(x)] and not truth[int(y), int(x)]


def test_nothing_is_clicked_where_nothing_is_wrong_or_nothing_is_known() -> None:
    truth = rectangle(slice(5, 25), slice(2, 14))
    assert corrective_click(truth, truth) is None
    more = truth | rectangle(slice(0, 4), slice(30, 35))
    assert corrective_click(more, truth, void=rectangle(slice(0, 5), slice(0, 40))) is None


def test_an_object_that_is_not_there_is_clicked_off() -> None:
    nothing = rectangle(slice(0, 0), slice(0, 0))
    assert corrective_click(rectangle(slice(4, 9), slice(11, 16)), nothing) == (13.0, 6.0, 0)


def test_an_empty_mask_gives_no_prompt() -> None:
    empty = np.zeros((5, 5), dtype=np.bool_)
    with pytest.raises(ValueError, match="empty mask has no box"):
        box_around(empty)
    with pytest.raises(ValueError, match="empty mask has no inside"):
        click_inside(empty)
