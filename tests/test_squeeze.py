"""Resizing as products of small matrices gives what Pillow gives, to the last bit."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from etam_onnx.runtime import squeeze
from etam_onnx.runtime.bicubic import BITS, axis, taps
from etam_onnx.runtime.squeeze import STRONGEST, squeezed

# (height, width, size): reduced, enlarged, kept, odd, upright, thinner than a block, nearly too strongly reduced.
SIZES = [
    (1080, 1920, 384),
    (1280, 720, 512),
    (480, 854, 384),
    (481, 853, 96),
    (120, 160, 256),
    (200, 200, 200),
    (90, 700, 300),
    (1, 1, 8),
    (2, 500, 32),
    (499, 511, 32),
    (64, 64, 63),
    (63, 65, 64),
]
CONTENTS = ["noise", "smooth", "black and white", "checks", "flat"]


def picture(height: int, width: int, content: str) -> np.ndarray:
    rng = np.random.default_rng(height * 7 + width)
    noise = rng.integers(0, 256, (height, width, 3), np.uint8)
    if content == "smooth":
        coarse = Image.fromarray(noise[: height // 9 + 1, : width // 9 + 1])
        return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    if content == "black and white":
        return (noise > 127).astype(np.uint8) * np.uint8(255)
    if content == "checks":
        y, x = np.mgrid[:height, :width]
        return np.repeat((((x // 2 + y // 2) % 2) * 255).astype(np.uint8)[..., None], 3, axis=2)
    if content == "flat":
        return np.full((height, width, 3), (13, 128, 255), np.uint8)
    return noise


def by_pillow(frame: np.ndarray, size: int) -> np.ndarray:
    """In two calls, as Pillow 13 would otherwise filter some pictures along the columns first."""
    narrow = Image.fromarray(frame).resize((size, frame.shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(narrow.resize((size, size), Image.Resampling.BICUBIC), np.float32).transpose(2, 0, 1)[None]


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize(("height", "width", "size"), SIZES)
def test_the_same_as_pillow(height: int, width: int, size: int, content: str) -> None:
    frame = picture(height, width, content)
    found = squeezed(frame, size)
    assert (found.dtype, found.flags.c_contiguous) == (np.float32, True)
    np.testing.assert_array_equal(found, by_pillow(frame, size))


def test_random_sizes() -> None:
    rng = np.random.default_rng(5)
    for _ in range(150):
        height, width, size = (int(side) for side in rng.integers(1, 300, 3))
        frame = rng.integers(0, 256, (height, width, 3), np.uint8)
        np.testing.assert_array_equal(squeezed(frame, size), by_pillow(frame, size), f"{height}x{width} to {size}")


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("most", [0.0, 1.0])
def test_however_many_values_are_in_doubt(monkeypatch: pytest.MonkeyPatch, most: float, content: str) -> None:
    monkeypatch.setattr(squeeze, "MOST_DOUBTS", most)
    for height, width, size in ((120, 160, 256), (360, 640, 384), (256, 512, 128)):
        frame = picture(height, width, content)
        np.testing.assert_array_equal(squeezed(frame, size), by_pillow(frame, size))


def test_a_strong_reduction_is_left_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 8
    frame = picture(40, STRONGEST * size + 1, "noise")
    monkeypatch.setattr(squeeze, "Squeeze", None)
    monkeypatch.setattr(squeeze, "_kept", None)
    np.testing.assert_array_equal(squeezed(frame, size), by_pillow(frame, size))
    with pytest.raises(TypeError):
        squeezed(frame[:, :-1], size)


def test_sums_in_single_precision_stay_within_the_bound() -> None:
    """Whatever the order of summation; the worst of these is a third of the bound."""
    rng = np.random.default_rng(2)
    for source, target in ((1920, 384), (854, 384), (160, 256), (3840, 384)):
        along = axis(source, target, 3, 16)
        weights = along.taps / 2**BITS
        pixels = rng.integers(0, 256, (200, *weights.shape), np.int64)
        pixels[:20] = np.where(weights > 0, 255, 0)  # the largest sums
        exact = (pixels * along.taps).sum(-1) / 2**BITS
        products = (pixels.astype(np.float32) * weights.astype(np.float32)).astype(np.float32)
        one_by_one = np.cumsum(products, axis=-1, dtype=np.float32)[..., -1]
        backwards = np.cumsum(products[..., ::-1], axis=-1, dtype=np.float32)[..., -1]
        for found in (one_by_one, backwards, products.sum(-1, dtype=np.float32)):
            assert np.abs(found - exact).max() < along.doubt < 1e-3


def test_weights_are_whole_and_sum_to_one() -> None:
    for source, target in ((1920, 384), (100, 300), (7, 7), (1, 5)):
        first, weights = taps(source, target)
        assert np.abs(weights.sum(1) - 2**BITS).max() <= weights.shape[1]
        assert weights.shape[1] <= math.ceil(4 * max(source / target, 1)) + 1
        assert first.min() == 0
        assert (first < source).all()


def test_threads_do_not_disturb_each_other() -> None:
    frames = [picture(270, 480, content) for content in ("noise", "smooth")] * 8
    with ThreadPoolExecutor(4) as pool:
        for frame, found in zip(frames, pool.map(lambda frame: squeezed(frame, 128), frames), strict=True):
            np.testing.assert_array_equal(found, by_pillow(frame, 128))


def test_the_frame_may_be_read_only_and_strided() -> None:
    frame = picture(240, 320, "noise")
    strided = np.repeat(frame, 2, axis=1)[:, ::2]
    strided.setflags(write=False)
    before = strided.copy()
    np.testing.assert_array_equal(squeezed(strided, 64), by_pillow(frame, 64))
    np.testing.assert_array_equal(strided, before)
