"""Hole filling: components as SciPy finds them, and what is filled."""

from __future__ import annotations

import numpy as np
import pytest

from etam_onnx.runtime.holes import components, fill_holes


def picture(*rows: str) -> np.ndarray:
    """Logits: `#` foreground at 5, anything else background at -5."""
    return np.where(np.asarray([list(row) for row in rows]) == "#", 5, -5).astype(np.float32)


@pytest.mark.parametrize("density", [0.02, 0.2, 0.4, 0.5, 0.6, 0.8, 0.98])
@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (30, 1), (13, 17), (64, 64)])
def test_components_are_those_of_scipy(shape: tuple[int, int], density: float) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    rng = np.random.default_rng(int(density * 100))
    for _ in range(4):
        mask = rng.random(shape) < density
        expected, count = ndimage.label(mask, np.ones((3, 3)))
        labels, areas = components(mask)
        pairs = set(zip(labels.ravel().tolist(), expected.ravel().tolist(), strict=True))
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})  # one to one
        assert labels.max() == count == len(areas) - 1
        np.testing.assert_array_equal(areas[1:], np.bincount(labels.ravel(), minlength=count + 1)[1:])
        np.testing.assert_array_equal(labels > 0, mask)


@pytest.mark.parametrize("full", [False, True])
def test_nothing_and_everything(full: bool) -> None:
    labels, areas = components(np.full((5, 7), full))
    assert (labels == int(full)).all()
    assert areas.tolist() == [0, 35][: 1 + full]


def test_corners_touch() -> None:
    labels, areas = components(picture("#..#", ".##.", "#..#") > 0)
    assert (labels.max(), areas.tolist()) == (1, [0, 6])


def test_a_comb_that_joins_late_is_one_component() -> None:
    labels, areas = components(picture("#.#.#.#", "#.#.#.#", "#######") > 0)
    assert (labels.max(), areas.tolist()) == (1, [0, 15])


@pytest.mark.parametrize(("area", "filled"), [(1, 1), (2, 1), (3, 4), (5, 4), (6, 10)])
def test_components_up_to_the_area_are_filled(area: int, filled: int) -> None:
    logits = picture(
        "########",
        "#.##.###",
        "####.###",
        "###.####",
        "########",
        "##..####",
        "##....##",
        "########",
    )
    found = fill_holes(logits, area, 0.1)
    changed = found != logits
    assert changed.sum() == filled
    assert (found[changed] == np.float32(0.1)).all() and found.dtype == np.float32
    assert (logits[changed] == -5).all()


def test_small_background_at_the_border_is_filled_as_in_the_original() -> None:
    assert (fill_holes(picture(".###", "####"), 1, 0.1) > 0).all()


def test_zero_is_background() -> None:
    logits = picture("###", "###", "###")
    logits[1, 1] = 0
    assert fill_holes(logits, 1, 0.1)[1, 1] == np.float32(0.1)


@pytest.mark.parametrize("area", [0, -1])
def test_no_area_changes_nothing(area: int) -> None:
    logits = picture("###", "#.#", "###")
    assert fill_holes(logits, area, 0.1) is logits


def test_the_given_logits_stay_as_they_are() -> None:
    logits = picture("###", "#.#", "###")
    logits.setflags(write=False)
    assert fill_holes(logits, 1, 0.1)[1, 1] > 0
    assert logits[1, 1] == -5


def test_an_absent_object_stays_absent() -> None:
    absent = np.full((64, 64), -1024, np.float32)
    np.testing.assert_array_equal(fill_holes(absent, 100, 0.1), absent)
