"""Frames as model input, and frames that are none."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from etam_onnx.runtime.errors import FrameError
from etam_onnx.runtime.preprocess import check_frame, image_input, video_input

FRAME = np.random.default_rng(3).integers(0, 256, (30, 50, 3), np.uint8)


def test_video_frames_are_resized_by_pillow() -> None:
    found = video_input(FRAME, 16)
    expected = np.asarray(Image.fromarray(FRAME).resize((16, 16), Image.Resampling.BICUBIC), np.float32)
    np.testing.assert_array_equal(found[0].transpose(1, 2, 0), expected)
    assert (found.shape, found.dtype, found.flags.c_contiguous) == ((1, 3, 16, 16), np.float32, True)


def test_single_images_are_resized_as_floats() -> None:
    torch = pytest.importorskip("torch")
    planes = torch.from_numpy(FRAME.transpose(2, 0, 1).astype(np.float32))[None]
    expected = torch.nn.functional.interpolate(planes, (16, 16), mode="bilinear", antialias=True).numpy()
    np.testing.assert_allclose(image_input(FRAME, 16), expected, atol=2e-4)


@pytest.mark.parametrize("prepare", [video_input, image_input])
def test_read_only_and_strided_frames_give_the_same(prepare: object) -> None:
    assert callable(prepare)
    wide = np.repeat(FRAME, 2, axis=1)[::-1]
    wide.setflags(write=False)
    found = prepare(wide[::-1, ::2], 16)
    np.testing.assert_array_equal(found, prepare(FRAME, 16))
    np.testing.assert_array_equal(prepare(FRAME[:, :, ::-1], 16)[:, ::-1], prepare(FRAME, 16))


def test_a_frame_is_returned_as_it_is() -> None:
    assert check_frame(FRAME) is FRAME
    assert check_frame(FRAME, (30, 50, 3)) is FRAME


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        (FRAME.astype(np.float32), "a frame should be uint8, found float32"),
        (FRAME.astype(np.int8), "a frame should be uint8, found int8"),
        (FRAME[..., 0], r"should have the shape \(H, W, 3\), found \(30, 50\)"),
        (FRAME[None], r"found \(1, 30, 50, 3\)"),
        (FRAME.transpose(2, 0, 1), r"found \(3, 30, 50\)"),
        (FRAME[:, :0], r"found \(30, 0, 3\)"),
        (Image.fromarray(FRAME), "should be a numpy array of uint8 .*, found Image"),
        (None, "found NoneType"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused_frames(frame: object, sentence: str) -> None:
    with pytest.raises(FrameError, match=sentence):
        check_frame(frame)  # type: ignore[arg-type]


def test_another_size_is_refused() -> None:
    with pytest.raises(FrameError, match=r"has the shape \(30, 50, 3\), the ones before it had \(50, 30, 3\)"):
        check_frame(FRAME, (50, 30, 3))
