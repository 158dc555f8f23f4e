"""What is drawn on a frame: tint, contour, number, prompts, and a note for what is lost."""

from __future__ import annotations

import time

import numpy as np
import pytest

from etam_onnx.cli.overlay import COLOURS, NEGATIVE, POSITIVE, TINT, Marks, Overlay, colour_of

SIZE = (320, 240)


def grey(size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.full((size[1], size[0], 3), 128, np.uint8)


def square(left: int, top: int, side: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros((size[1], size[0]), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_inside_is_tinted_the_rim_is_solid_and_the_rest_untouched() -> None:
    frame = grey()
    mask = square(100, 100, 60)
    drawn = Overlay(SIZE).draw(frame, {1: mask})
    colour = np.array(colour_of(1))
    np.testing.assert_array_equal(frame, grey())
    assert np.abs(drawn[130, 130] - (128 + (colour - 128) * TINT / 255)).max() <= 1
    for y, x in ((100, 130), (101, 130), (159, 130), (130, 100), (130, 159)):
        np.testing.assert_array_equal(drawn[y, x], colour)
    assert not np.array_equal(drawn[102, 130], colour)
    changed = (drawn != frame).any(2)
    label = changed & ~mask
    rows, columns = np.nonzero(label)
    assert rows.max() < 100  # only the number, above the object
    assert rows.min() >= 100 - 25
    assert abs(columns.mean() - 130) < 4


def test_holes_and_separate_parts_get_their_own_rim() -> None:
    mask = square(60, 60, 80) & ~square(90, 90, 20) | square(200, 200, 3)
    drawn = Overlay(SIZE).draw(grey(), {1: mask})
    colour = np.array(colour_of(1))
    np.testing.assert_array_equal(drawn[100, 100], [128, 128, 128])
    np.testing.assert_array_equal(drawn[100, 88], colour)
    np.testing.assert_array_equal(drawn[201, 201], colour)


def test_the_edge_of_the_frame_is_no_rim() -> None:
    drawn = Overlay(SIZE).draw(grey(), {1: np.ones((240, 320), bool)})
    tint = drawn[120, 300]
    np.testing.assert_array_equal(drawn[239, 300], tint)
    np.testing.assert_array_equal(drawn[120, 319], tint)


def test_objects_have_their_own_colours() -> None:
    assert len(set(COLOURS)) == 10
    assert colour_of(1) == colour_of(11) != colour_of(2)
    drawn = Overlay(SIZE).draw(grey(), {1: square(40, 150, 40), 2: square(200, 150, 40)})
    assert drawn[150, 60].tolist() == list(colour_of(1))
    assert drawn[150, 220].tolist() == list(colour_of(2))


def test_a_lost_object_is_noted_in_the_corner() -> None:
    drawn = Overlay(SIZE).draw(grey(), {2: np.zeros((240, 320), bool), 5: np.zeros((240, 320), bool)})
    rows, columns = np.nonzero((drawn != 128).any(2))
    assert rows.max() < 40
    assert columns.max() < 80
    corner = drawn[:40, :80].reshape(-1, 3)
    for number in (2, 5):
        assert (corner == colour_of(number)).all(1).sum() > 50


def test_numbers_do_not_cover_each_other() -> None:
    overlay = Overlay((640, 480))
    mask = square(300, 300, 50, (640, 480))
    one = overlay.draw(grey((640, 480)), {1: mask})
    both = overlay.draw(grey((640, 480)), {1: mask, 2: mask})
    plate = (one[:300] == colour_of(1)).all(2).sum()
    assert plate > 100
    assert (both[:300] == colour_of(1)).all(2).sum() >= plate
    assert (both == colour_of(2)).all(2).sum() > 100


@pytest.mark.parametrize("corner", [(0, 0), (310, 0), (0, 230), (310, 230)])
def test_numbers_stay_inside_the_frame(corner: tuple[int, int]) -> None:
    mask = square(*corner, 10)
    drawn = Overlay(SIZE).draw(grey(), {123: mask})
    plate = (drawn == colour_of(123)).all(2) & ~mask
    assert plate.sum() > 60


def test_prompts_are_marked() -> None:
    marks = Marks(points=[(50.4, 60), (200, 100)], labels=[1, 0], box=(30, 30, 280, 200))
    drawn = Overlay(SIZE).draw(grey(), {1: square(100, 100, 20)}, {1: marks})
    assert drawn[60, 50].tolist() == list(POSITIVE)
    assert drawn[100, 200].tolist() == list(NEGATIVE)
    for y, x in ((30, 150), (200, 150), (120, 30), (120, 280)):
        assert drawn[y, x].tolist() == list(colour_of(1))
    assert drawn[180, 100].tolist() == [128, 128, 128]


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (33, 500)])
def test_tiny_frames(size: tuple[int, int]) -> None:
    mask = np.ones((size[1], size[0]), bool)
    marks = {1: Marks([(0, 0)], [1], (0, 0, *size))}
    for masks in ({1: mask}, {1: ~mask}):
        assert Overlay(size).draw(grey(size), masks, marks).shape == (size[1], size[0], 3)


def test_one_object_at_1920x1080_is_fast() -> None:
    """3.5 ms on one core; the limit leaves room for a busy machine."""
    size = (1920, 1080)
    frame = np.random.default_rng(0).integers(0, 255, (1080, 1920, 3), np.uint8)
    y, x = np.mgrid[:1080, :1920]
    overlay, mask = Overlay(size), (x - 900) ** 2 + (y - 500) ** 2 < 300**2
    overlay.draw(frame, {1: mask})
    times = []
    for _ in range(10):
        began = time.perf_counter()
        overlay.draw(frame, {1: mask})
        times.append(time.perf_counter() - began)
    assert min(times) < 0.030
