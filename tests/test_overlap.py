"""The non-overlap rule on small arrays."""

from __future__ import annotations

import numpy as np
import pytest

from etam_onnx.runtime.overlap import suppress_overlaps


def test_only_the_highest_object_keeps_its_pixel() -> None:
    logits = np.asarray([[[3, -1, -20, 5]], [[4, -2, -15, 5]], [[1, -3, -30, 6]]], np.float32)
    expected = [[[-10, -1, -20, -10]], [[4, -10, -15, -10]], [[-10, -10, -30, 6]]]
    found = suppress_overlaps(logits, -10.0)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float32
    assert logits[0, 0, 0] == 3


def test_of_equal_objects_the_first_one_wins() -> None:
    found = suppress_overlaps(np.ones((3, 2, 2), np.float32), -10.0)
    np.testing.assert_array_equal(found[:, 0, 0], [1, -10, -10])


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_separate(count: int) -> None:
    logits = np.ones((count, 2, 2), np.float32)
    np.testing.assert_array_equal(suppress_overlaps(logits, -10.0), logits)


def test_masks_are_disjoint_and_cover_the_same_pixels() -> None:
    logits = np.random.default_rng(0).normal(size=(5, 20, 30)).astype(np.float32)
    masks = suppress_overlaps(logits, -10.0) > 0
    assert masks.sum(0).max() == 1
    np.testing.assert_array_equal(masks.any(0), (logits > 0).any(0))
