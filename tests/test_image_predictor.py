"""The image predictor's conventions, on networks that write down what they were asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fake_networks import Decoded, Encoded, FakeModel, numbered_frame

from etam_onnx.runtime.errors import FrameError, PromptError, StateError
from etam_onnx.runtime.image_predictor import ImagePredictor
from etam_onnx.runtime.resize import resize

CLICK = {"point_coords": [[40, 24]], "point_labels": [1]}


def opened(fake: FakeModel | None = None) -> tuple[FakeModel, ImagePredictor]:
    fake = fake or FakeModel()
    predictor = ImagePredictor(fake.networks())
    predictor.set_image(numbered_frame(3))
    return fake, predictor


def test_an_image_is_needed() -> None:
    with pytest.raises(StateError, match=r"call set_image\(image\) first"):
        ImagePredictor(FakeModel().networks()).predict(**CLICK)


def test_an_image_is_encoded_once() -> None:
    fake, predictor = opened()
    for _ in range(3):
        predictor.predict(**CLICK)
    assert [call.frame for call in fake.called(Encoded)] == [3]
    assert {call.kind for call in fake.called(Decoded)} == {"without memory"}


def test_three_masks_at_the_size_of_the_image() -> None:
    fake, predictor = opened()
    masks, ious, low_res = predictor.predict(**CLICK)
    decoded = fake.called(Decoded)[-1].mask_logits
    assert (masks.shape, masks.dtype) == ((3, 48, 80), bool)
    assert (low_res.shape, low_res.dtype) == ((3, 16, 16), np.float32)
    np.testing.assert_array_equal(ious, np.float32([0.3, 0.8, 0.5]))
    np.testing.assert_array_equal(low_res, decoded[1:])
    logits, _, _ = predictor.predict(**CLICK, return_logits=True)
    np.testing.assert_array_equal(logits, resize(decoded[1:], 48, 80))
    np.testing.assert_array_equal(masks, logits > 0)


@pytest.mark.parametrize(("unstable", "token"), [(False, 0), (True, 2)])
def test_one_mask_is_the_single_one_unless_unstable(unstable: bool, token: int) -> None:
    fake, predictor = opened()
    fake.unstable = unstable
    masks, ious, low_res = predictor.predict(**CLICK, multimask_output=False)
    assert (masks.shape, ious.shape, low_res.shape) == ((1, 48, 80), (1,), (1, 16, 16))
    np.testing.assert_array_equal(low_res[0], fake.called(Decoded)[-1].mask_logits[token])
    assert ious[0] == np.float32(fake.iou[token])


def test_presence_gates_nothing() -> None:
    fake, predictor = opened()
    fake.absent = {3}
    assert predictor.predict(**CLICK)[0].any()


@pytest.mark.parametrize(
    ("prompt", "points"),
    [
        (CLICK, [(32, 32, 1), (0, 0, -1)]),
        ({"point_coords": [40, 24], "point_labels": 0}, [(32, 32, 0), (0, 0, -1)]),
        ({"box": [20, 12, 60, 36]}, [(16, 16, 2), (48, 48, 3), (0, 0, -1)]),
        ({"box": np.asarray([[20, 12, 60, 36]])}, [(16, 16, 2), (48, 48, 3), (0, 0, -1)]),
        ({**CLICK, "box": [20, 12, 60, 36]}, [(16, 16, 2), (48, 48, 3), (32, 32, 1), (0, 0, -1)]),
        ({}, []),
    ],
    ids=str,
)
def test_a_box_goes_before_the_points_and_a_padding_point_after(prompt: dict[str, Any], points: list[Any]) -> None:
    fake, predictor = opened()
    predictor.predict(**prompt)
    assert list(fake.called(Decoded)[-1].points) == points


@pytest.mark.parametrize("shape", [(16, 16), (1, 16, 16)])
def test_a_mask_goes_in_as_it_came_out(shape: tuple[int, ...]) -> None:
    fake, predictor = opened()
    low_res = predictor.predict(**CLICK)[2][0]
    predictor.predict(**CLICK, mask_input=low_res.astype(np.float64).reshape(shape))
    np.testing.assert_array_equal(fake.called(Decoded)[-1].mask_input, low_res)
    assert fake.called(Decoded)[0].mask_input is None


def test_low_resolution_logits_are_clamped_and_masks_are_not_made_of_the_clamped_ones() -> None:
    _, predictor = opened()
    runners: Any = predictor.segmenter.networks.runners
    decoder = runners["mask_decoder"]

    def loud(**inputs: Any) -> dict[str, Any]:
        outputs = decoder(**inputs)
        return {**outputs, "mask_logits": outputs["mask_logits"] * 100}

    runners["mask_decoder"] = loud
    logits, _, low_res = predictor.predict(**CLICK, return_logits=True)
    assert set(np.unique(low_res)) == {-32, 32}
    assert logits.max() > 100


def test_a_new_image_replaces_the_one_before_and_a_refused_one_does_not() -> None:
    fake, predictor = opened()
    for bad in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), [[[1, 2, 3]]]):
        with pytest.raises(FrameError, match="a frame should"):
            predictor.set_image(bad)  # type: ignore[arg-type]
    assert predictor.predict(**CLICK)[0].shape == (3, 48, 80)
    predictor.set_image(numbered_frame(9, 20, 30)[::-1])
    assert predictor.predict()[0].shape == (3, 20, 30)
    assert [call.frame for call in fake.called(Encoded)] == [3, 9]


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ({"point_coords": [[1, 1]]}, "points and labels must be given together"),
        ({"point_coords": [[81, 1]], "point_labels": [1]}, r"\(81, 1\) lies outside the frame of 80 x 48 pixels"),
        ({"mask_input": np.zeros((3, 16, 16))}, r"mask_input should have the shape \(1, 16, 16\), found \(3, 16, 16\)"),
        ({"mask_input": np.zeros((48, 80), bool)}, r"found \(48, 80\)"),
        ({"mask_input": np.full((16, 16), np.nan)}, "mask_input should be finite numbers"),
        ({"mask_input": "mask"}, "mask_input should be numbers, found 'mask'"),
    ],
    ids=lambda value: value if isinstance(value, str) else ",".join(value),
)
def test_refused_prompts(prompt: dict[str, Any], sentence: str) -> None:
    _, predictor = opened()
    with pytest.raises(PromptError, match=sentence):
        predictor.predict(**prompt)
