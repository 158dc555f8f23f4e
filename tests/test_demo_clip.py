"""The clip that renders itself: the same every time, moving, occluded, and scored by its own masks."""

from __future__ import annotations

import numpy as np
import pytest

from etam_onnx.cli.demo_clip import DemoClip


@pytest.fixture(scope="module")
def clip() -> DemoClip:
    return DemoClip()


def test_it_is_a_video_of_a_few_seconds(clip: DemoClip) -> None:
    assert clip.size == (854, 480)
    assert clip.fps is not None
    assert 4 <= len(clip) / clip.fps <= 5
    frame = clip[0]
    assert frame.shape == (480, 854, 3)
    assert frame.dtype == np.uint8


def test_it_is_the_same_every_time(clip: DemoClip) -> None:
    again = DemoClip()
    for index in (0, 50, 107):
        np.testing.assert_array_equal(clip[index], again[index])
        np.testing.assert_array_equal(clip.truth(index), again.truth(index))
    clip[0][:] = 0
    assert clip[0].any()


def test_the_box_encloses_the_red_beetle(clip: DemoClip) -> None:
    x0, y0, x1, y1 = clip.box
    truth = clip.truth(0)
    assert truth[y0:y1, x0:x1].sum() == truth.sum()
    assert truth[y0, x0:x1].any() and truth[y1 - 1, x0:x1].any()
    assert truth[y0:y1, x0].any() and truth[y0:y1, x1 - 1].any()


def test_the_masks_are_where_the_red_is(clip: DemoClip) -> None:
    for index in range(0, len(clip), 9):
        frame, truth = clip[index].astype(int), clip.truth(index)
        red = (frame[..., 0] > 100) & (frame[..., 0] > 2.2 * frame[..., 1])
        assert (red & ~truth).sum() < 0.01 * truth.sum()
        assert (red & truth).sum() > 0.35 * truth.sum()


def test_it_moves_turns_grows_and_is_hidden_in_part(clip: DemoClip) -> None:
    indices = range(0, len(clip), 3)
    areas = np.array([clip.truth(index).sum() for index in indices])
    middles = np.array([np.argwhere(clip.truth(index)).mean(0) for index in indices])
    assert np.ptp(middles[:, 1]) > 400
    assert np.ptp(middles[:, 0]) > 100
    assert areas.min() > 4000
    assert areas.max() > 1.6 * areas[0]
    # Behind the blade of grass more than half of it is gone, though it was at its largest just before.
    assert areas[14:24].min() < 0.45 * areas.max()


def test_the_background_is_textured_and_drifts(clip: DemoClip) -> None:
    grey = clip[0].mean(2)
    blocks = grey[:480, :848].reshape(60, 8, 106, 8).std(axis=(1, 3))
    assert np.percentile(blocks, 10) > 3
    first, last = (clip[index][420:, :120].astype(int) for index in (0, 40))
    assert np.abs(first - last).mean() > 8
