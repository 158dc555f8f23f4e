"""How real clips are varied: the frames and masks together, the same way through a clip."""

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2", reason="training data needs OpenCV: pip install 'etam-onnx[train]'")

from etam_onnx.training.data.augmentation import PLAIN, Augmentation, Jitter, Variation, recoloured  # noqa: E402

GREY = np.full((48, 80, 3), 128, np.uint8)
NOTHING = Variation(flip=False, angle=0.0, shear=0.0, factors=(1.0, 1.0, 1.0), grey=False)


def painted() -> tuple[np.ndarray, np.ndarray]:
    """A dark picture with a bright rectangle, and the mask of the rectangle."""
    frame, mask = np.full((120, 200, 3), 20, np.uint8), np.zeros((120, 200), bool)
    mask[30:70, 40:120] = True
    frame[mask] = (230, 200, 30)
    return frame, mask


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_strengths_are_those_of_the_paper() -> None:
    strengths = Augmentation()
    assert (strengths.flip, strengths.degrees, strengths.shear, strengths.grey) == (0.5, 25.0, 20.0, 0.05)
    assert strengths.jitter == Jitter(0.1, 0.03, 0.03) and strengths.frame_jitter == Jitter(0.0, 0.0, 0.0)


def test_draws_stay_within_their_strengths_and_fill_them() -> None:
    drawn = [Augmentation().draw(np.random.default_rng(seed)) for seed in range(600)]
    angles, shears = np.rad2deg([(v.angle, v.shear) for v in drawn]).T
    factors = np.array([v.factors for v in drawn])
    assert 23 < np.abs(angles).max() <= 25 and 18 < np.abs(shears).max() <= 20
    assert np.abs(factors - 1).max(0) == pytest.approx([0.1, 0.03, 0.03], rel=0.05)
    assert np.mean([v.flip for v in drawn]) == pytest.approx(0.5, abs=0.06)
    assert 0.02 < np.mean([v.grey for v in drawn]) < 0.09
    assert PLAIN.draw(np.random.default_rng(0)) == NOTHING


def test_frame_and_mask_stay_together() -> None:
    frame, mask = painted()
    for seed in range(20):
        variation = Augmentation(jitter=Jitter()).draw(np.random.default_rng(seed))
        seen = variation.frame(frame, 96, None, (1.0, 1.0, 1.0))[..., 0] > 125
        outside = variation.mask(np.ones_like(mask), 96, None)
        assert overlap(seen & outside, variation.mask(mask, 96, None)) > 0.93


def test_a_zoom_enlarges_about_its_point() -> None:
    _, mask = painted()
    closer = Variation(False, 0.0, 0.0, (1.0, 1.0, 1.0), False, zoom=2.0, about=(0.4, 0.4)).mask(mask, 100, None)
    assert closer.mean() == pytest.approx(4 * NOTHING.mask(mask, 100, None).mean(), rel=0.03)
    rows, columns = np.nonzero(closer)
    # 0.4 stays where it is: the rectangle spans 0.2..0.6 of the width and 0.25..0.583 of the height
    assert (columns.min() / 100, (columns.max() + 1) / 100) == pytest.approx((0.0, 0.8), abs=0.011)
    assert (rows.min() / 100, (rows.max() + 1) / 100) == pytest.approx((0.1, 0.767), abs=0.011)
    zooms = [Augmentation(zoom=2.0).draw(np.random.default_rng(seed)).zoom for seed in range(300)]
    assert 1 <= min(zooms) < 1.02 and 1.97 < max(zooms) <= 2


def test_a_flip_mirrors() -> None:
    frame, mask = painted()
    flipped = Variation(True, 0.0, 0.0, (1.0, 1.0, 1.0), False)
    assert np.array_equal(flipped.mask(mask, 60, None), NOTHING.mask(mask, 60, None)[:, ::-1])
    once, twice = flipped.frame(frame, 60, None, (1.0,) * 3), NOTHING.frame(frame, 60, None, (1.0,) * 3)
    assert np.abs(once.astype(int) - twice[:, ::-1]).max() <= 1


def test_an_affine_turns_about_the_middle_at_the_proportions_of_the_frame() -> None:
    turned = Variation(False, np.pi / 6, 0.0, (1.0, 1.0, 1.0), False)
    matrix = turned.matrix(200, 100, 50)
    assert matrix @ (100, 50, 1) == pytest.approx([25, 25, 1])
    # 40 pixels right of the middle of the frame come to 40 (cos, sin), and the square is 4 and 2 times smaller.
    assert matrix @ (140, 50, 1) == pytest.approx([25 + 40 * np.cos(np.pi / 6) / 4, 25 + 20 / 2, 1])
    sheared = Variation(False, 0.0, np.deg2rad(20), (1.0, 1.0, 1.0), False).matrix(100, 100, 100)
    assert sheared @ (50, 90, 1) == pytest.approx([50 - 40 * np.tan(np.deg2rad(20)), 90, 1])


def test_a_large_picture_is_averaged_not_sampled() -> None:
    stripes = np.zeros((640, 640, 3), np.uint8)
    stripes[:, ::2] = 200
    assert NOTHING.frame(stripes, 64, None, (1.0,) * 3).std() < 1
    turned = Variation(False, 0.3, 0.0, (1.0, 1.0, 1.0), False).frame(stripes, 64, None, (1.0,) * 3)
    assert turned[16:48, 16:48].std() < 1


def test_what_lies_outside_has_the_mean_colour_and_no_mask() -> None:
    turned = Variation(False, np.deg2rad(25), 0.0, (1.0, 1.0, 1.0), False)
    assert np.array_equal(turned.frame(np.zeros((90, 90, 3), np.uint8), 90, None, (1.0,) * 3)[0, 0], (123, 116, 103))
    assert not turned.mask(np.ones((90, 90), bool), 90, None)[0, 0]


def test_colours() -> None:
    pixel = np.array([[[100, 150, 50]]], np.uint8)
    grey = 0.299 * 100 + 0.587 * 150 + 0.114 * 50
    assert np.abs(recoloured(pixel, 1.1, 1.0, 1.0)[0, 0] - np.array([110, 165, 55])).max() <= 0.5
    assert np.abs(recoloured(pixel, 1.0, 1.0, 0.0)[0, 0] - grey).max() <= 0.5
    expected = 0.9 * np.array([100, 150, 50]) + 0.1 * grey
    assert np.abs(recoloured(pixel, 1.0, 0.9, 1.0)[0, 0] - expected).max() <= 0.5
    assert recoloured(GREY, 1.0, 1.0, 1.0) is GREY


def test_a_frame_may_have_a_jitter_of_its_own() -> None:
    bright = NOTHING.frame(GREY, 48, None, (1.05, 1.0, 1.0))
    assert (bright == 134).all()
