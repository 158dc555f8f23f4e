"""Clicks and boxes made from masks."""

from __future__ import annotations

import numpy as np
import pytest

from etam_onnx.evaluation.prompts import box_around, click_inside


def test_the_box_runs_from_first_to_last_pixel() -> None:
    mask = np.zeros((30, 40), dtype=np.bool_)
    mask[4:9, 11:31] = True
    assert box_around(mask) == (11.0, 4.0, 30.0, 8.0)


def test_the_click_is_the_middle_of_a_rectangle() -> None:
    mask = np.zeros((30, 40), dtype=np.bool_)
    mask[4:9, 11:32] = True
    assert click_inside(mask) == (21.0, 6.0)


def test_the_click_avoids_the_hole_of_a_ring() -> None:
    ys, xs = np.indices((101, 101))
    distance = np.hypot(ys - 50, xs - 50)
    ring = (distance < 45) & (distance > 25)
    x, y = click_inside(ring)
    assert abs(np.hypot(y - 50, x - 50) - 35) < 4


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (2, 2), (37, 5)])
def test_the_click_lies_inside_thin_masks(shape: tuple[int, int]) -> None:
    full = np.ones(shape, dtype=np.bool_)
    x, y = click_inside(full)
    assert full[int(y), int(x)]
    assert abs(x - (shape[1] - 1) / 2) <= 0.5 + 1e-9 and abs(y - (shape[0] - 1) / 2) <= 0.5 + 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_no_click_is_deeper(seed: int) -> None:
    mask = np.random.default_rng(seed).random((40, 50)) > 0.02
    x, y = (int(value) for value in click_inside(mask))

    def depth(row: int, column: int) -> int:
        half = 0
        while (
            min(row, column) >= half
            and row + half < 40
            and column + half < 50
            and mask[row - half : row + half + 1, column - half : column + half + 1].all()
        ):
            half += 1
        return half

    assert depth(y, x) == max(depth(row, column) for row in range(40) for column in range(50))


def test_an_empty_mask_gives_no_prompt() -> None:
    empty = np.zeros((5, 5), dtype=np.bool_)
    with pytest.raises(ValueError, match="empty mask has no box"):
        box_around(empty)
    with pytest.raises(ValueError, match="empty mask has no inside"):
        click_inside(empty)
