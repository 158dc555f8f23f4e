"""Resampling: small cases by hand, and PyTorch's where it is installed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from etam_onnx.runtime.resize import BLOCK, MOST_PRODUCTS, bands, bilinear_matrix, reached, resize, resize_part

SIZES = [(7, 7), (7, 20), (20, 7), (16, 64), (64, 16), (5, 3), (1, 4), (4, 1), (480, 256), (854, 256), (256, 480)]


def test_enlarging_by_two_takes_quarters() -> None:
    matrix = bilinear_matrix(2, 4)
    np.testing.assert_array_equal(matrix, [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])


def test_shrinking_by_two_takes_the_two_in_the_middle_or_the_wide_triangle() -> None:
    np.testing.assert_array_equal(bilinear_matrix(4, 2), [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])
    np.testing.assert_allclose(
        bilinear_matrix(4, 2, antialias=True), np.asarray([[3, 3, 1, 0], [0, 1, 3, 3]]) / 7, rtol=1e-7
    )


def test_shrinking_by_four_without_antialiasing_skips_pixels() -> None:
    np.testing.assert_array_equal(bilinear_matrix(8, 2), [[0, 0.5, 0.5, 0] + [0] * 4, [0] * 4 + [0, 0.5, 0.5, 0]])


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize(("source", "target"), SIZES)
def test_weights_are_not_negative_and_sum_to_one(source: int, target: int, antialias: bool) -> None:
    matrix = bilinear_matrix(source, target, antialias)
    assert matrix.shape == (target, source) and matrix.dtype == np.float32
    assert (matrix >= 0).all()
    np.testing.assert_allclose(matrix.sum(1), 1, atol=2e-7)
    np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=5e-5)  # positions of large maps are that coarse


def test_the_same_size_changes_nothing() -> None:
    maps = np.random.default_rng(0).normal(size=(2, 3, 9, 11)).astype(np.float32)
    for antialias in (False, True):
        np.testing.assert_array_equal(resize(maps, 9, 11, antialias), maps)


def test_leading_axes_are_kept_even_when_empty() -> None:
    assert resize(np.zeros((0, 8, 8), np.float32), 5, 6).shape == (0, 5, 6)
    assert resize(np.zeros((2, 3, 8, 8), np.float32), 5, 6).shape == (2, 3, 5, 6)
    assert resize(np.zeros((8, 8), np.float32), 5, 6).dtype == np.float32


def test_rows_and_columns_are_not_confused() -> None:
    ramp = np.arange(4, dtype=np.float32) * np.ones((3, 1), np.float32)
    found = resize(ramp, 6, 8)
    np.testing.assert_allclose(found, np.tile([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3], (6, 1)), atol=1e-6)


def test_the_shared_weights_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        bilinear_matrix(4, 8)[0] = 0


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize(("source", "target"), SIZES)
def test_the_weights_are_those_of_pytorch(source: int, target: int, antialias: bool) -> None:
    torch = pytest.importorskip("torch")
    columns = torch.eye(source)[None, None]
    expected = torch.nn.functional.interpolate(
        columns, (target, source), mode="bilinear", align_corners=False, antialias=antialias
    )[0, 0].numpy()
    np.testing.assert_allclose(bilinear_matrix(source, target, antialias), expected, rtol=0, atol=1.2e-7)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize(("source", "target"), SIZES)
def test_it_resamples_as_pytorch_does(source: int, target: int, antialias: bool) -> None:
    torch = pytest.importorskip("torch")
    maps = np.random.default_rng(source).uniform(-1, 1, (2, source, source + 3)).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(maps)[None], (target, target + 2), mode="bilinear", align_corners=False, antialias=antialias
    )[0].numpy()
    np.testing.assert_allclose(resize(maps, target, target + 2, antialias), expected, atol=1e-6)


@pytest.mark.parametrize(("height", "width", "size"), [(480, 854, 512), (720, 1280, 512), (100, 75, 64), (64, 64, 128)])
def test_masks_become_the_same_masks_as_with_pytorch(height: int, width: int, size: int) -> None:
    torch = pytest.importorskip("torch")
    y, x = np.mgrid[:height, :width]
    mask = (((x / width - 0.4) / 0.3) ** 2 + ((y / height - 0.5) / 0.2) ** 2 < 1).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(mask)[None, None], (size, size), mode="bilinear", align_corners=False, antialias=True
    )[0, 0].numpy()
    found = resize(mask, size, size, antialias=True)
    disagree = (found >= 0.5) != (expected >= 0.5)
    # Only where the mean is a half to the last bit may rounding decide.
    np.testing.assert_allclose(expected[disagree], 0.5, atol=1e-6)
    assert disagree.mean() < 1e-4


@pytest.mark.parametrize(("source", "target"), [(96, 1920), (96, 1080), (64, 65), (5, 300), (300, 129), (1, 4)])
def test_blocks_make_up_the_matrix(source: int, target: int) -> None:
    whole = np.zeros((target, source), np.float32)
    lengths = {band.target.stop - band.target.start for band in bands(source, target)}
    assert max(lengths) - min(lengths) <= 1 and max(lengths) <= BLOCK
    end = 0
    for band in bands(source, target):
        assert band.target.start == end
        whole[band.target, band.source] = band.weights
        end = band.target.stop
    assert end == target
    np.testing.assert_array_equal(whole, bilinear_matrix(source, target))


@pytest.mark.parametrize("side", [16, 96, 128, 256])
@pytest.mark.parametrize("length", [64, 144, 256, 480, 854, 1080, 1920, 3840])
def test_enlarging_masks_wakes_no_threads(side: int, length: int) -> None:
    blocks = bands(side, length)
    most = max(band.target.stop - band.target.start for band in blocks)
    for band in blocks:
        reads = band.source.stop - band.source.start
        assert max(side, most) * most * reads <= 1.05 * MOST_PRODUCTS < 262_144


@pytest.mark.parametrize(("height", "width"), [(1080, 1920), (480, 854), (1081, 257), (300, 131)])
def test_a_part_is_that_part_of_the_whole_to_the_last_bit(height: int, width: int) -> None:
    maps = np.random.default_rng(width).normal(size=(2, 96, 96)).astype(np.float32)
    whole = resize(maps, height, width)
    edges = [[*(band.target.start for band in bands(96, length)), length] for length in (height, width)]
    for rows in pairwise(edges[0]):
        for columns in (*pairwise(edges[1]), (edges[1][0], edges[1][-2])):
            part = slice(*rows), slice(*columns)
            np.testing.assert_array_equal(resize_part(maps, height, width, *part), whole[:, part[0], part[1]])


def test_what_an_object_reaches_is_whole_blocks() -> None:
    read = np.zeros(96, bool)
    assert reached(read, 1080) == slice(0, 0)
    read[95] = True
    assert reached(read, 1080) == slice(bands(96, 1080)[-1].target.start, 1080)
    read[0] = True
    assert reached(read, 1080) == slice(0, 1080)


def test_a_part_that_cuts_a_block_is_refused() -> None:
    with pytest.raises(ValueError, match="a part should be whole blocks, found pixels 0 to 100"):
        resize_part(np.zeros((96, 96), np.float32), 1080, 1920, slice(0, 100), slice(0, 128))
