"""Prompts in the user's frame: where they land in the model's square, and what is refused in which words."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from fake_networks import tiny_geometry

from etam_onnx.runtime.errors import PromptError
from etam_onnx.runtime.prompts import (
    NO_POINTS,
    Points,
    padded,
    point_ports,
    read_integer,
    read_mask,
    read_mask_logits,
    read_object_id,
    read_points,
)


def read(points: Any = None, labels: Any = None, box: Any = None, **options: Any) -> Points:
    """Points of a frame of 200 x 100 pixels in a square of 64."""
    return read_points(points, labels, box, 200, 100, 64, **options)


def test_points_are_scaled_by_width_and_height() -> None:
    found = read([[0, 0], [200, 100], [50, 75]], [1, 0, 1])
    np.testing.assert_array_equal(found.xy, [[0, 0], [64, 64], [16, 48]])
    np.testing.assert_array_equal(found.labels, [1, 0, 1])
    assert (found.xy.dtype, found.labels.dtype, len(found)) == (np.float32, np.int64, 3)


def test_fractions_are_scaled_by_the_square_alone() -> None:
    found = read([[0.25, 0.75]], [1], [0, 0, 0.5, 1], normalized=True)
    np.testing.assert_array_equal(found.xy, [[0, 0], [32, 64], [16, 48]])
    with pytest.raises(PromptError, match=r"the point \(1.5, 0\) lies outside the frame of 1 x 1"):
        read([[1.5, 0]], [1], normalized=True)


def test_a_box_is_two_labelled_points_before_the_others() -> None:
    found = read([[50, 75]], [0], [100, 25, 150, 50])
    np.testing.assert_array_equal(found.xy, [[32, 16], [48, 32], [16, 48]])
    np.testing.assert_array_equal(found.labels, [2, 3, 0])
    np.testing.assert_array_equal(read(box=np.asarray([[100, 25, 150, 50]])).xy, [[32, 16], [48, 32]])


@pytest.mark.parametrize(
    ("points", "labels"),
    [
        ([50, 75], 1),
        ([50, 75], [1]),
        ((50.0, 75.0), np.int8(1)),
        ([[50, 75]], [1.0]),
        ([[50, 75]], [True]),
        ([[50, 75]], np.ones((1, 1))),
        (np.asarray([[50, 75]], np.uint8), np.asarray([1], np.uint8)),
        (np.asarray([[75, 50]])[:, ::-1], np.asarray([1, 0])[::2]),
    ],
)
def test_one_point_in_many_forms(points: Any, labels: Any) -> None:
    found = read(points, labels)
    np.testing.assert_array_equal(found.xy, [[16, 48]])
    np.testing.assert_array_equal(found.labels, [1])


@pytest.mark.parametrize("empty", [[], np.zeros((0, 2)), ()])
def test_no_points_are_none(empty: Any) -> None:
    assert len(read(empty, [])) == 0
    assert read(empty, [], [1, 2, 3, 4]).labels.tolist() == [2, 3]
    assert len(read()) == 0


def test_a_point_that_is_none_may_lie_anywhere() -> None:
    assert read([[-5, 900]], [-1]).labels.tolist() == [-1]


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ({"points": [[1, 1]]}, "points and labels must be given together"),
        ({"labels": [1]}, "points and labels must be given together"),
        ({"points": [[1, 1], [2, 2]], "labels": [1]}, "2 points need as many labels, found 1"),
        ({"points": [[1, 1]], "labels": [1, 1]}, "1 points need as many labels, found 2"),
        ({"points": [[1, 1]], "labels": []}, "1 points need as many labels, found 0"),
        ({"points": [[1, 1, 1]], "labels": [1]}, r"points should have the shape \(T, 2\), found \(1, 3\)"),
        ({"points": [1, 2, 3], "labels": [1]}, r"points should have the shape \(T, 2\), found \(3,\)"),
        ({"points": [[[1, 1]]], "labels": [1]}, r"found \(1, 1, 2\)"),
        ({"points": 7, "labels": [1]}, r"points should have the shape \(T, 2\), found \(\)"),
        ({"points": [[1, 1]], "labels": [4]}, r"labels should be among \(-1, 0, 1, 2, 3\), found \[4.0\]"),
        ({"points": [[1, 1]], "labels": [0.5]}, r"labels should be among .*, found \[0.5\]"),
        ({"points": [[1, np.nan]], "labels": [1]}, "points should be finite numbers"),
        ({"points": [[1, None]], "labels": [1]}, "points should be finite numbers"),
        ({"points": [[1e300, 0]], "labels": [1]}, r"the point \(1e\+300, 0\) lies outside"),
        ({"points": [[1, 1]], "labels": [np.inf]}, "labels should be finite numbers"),
        ({"points": [["a", "b"]], "labels": [1]}, r"points should be numbers, found \[\['a', 'b'\]\]"),
        ({"points": [[1, 1], [2]], "labels": [1, 1]}, "points should be numbers, found"),
        ({"points": {"x": 1}, "labels": [1]}, "points should be numbers, found {'x': 1}"),
        (
            {"points": [[5, 5], [200.5, 3]], "labels": [1, 1]},
            r"the point \(200.5, 3\) lies outside the frame of 200 x 100",
        ),
        ({"points": [[5, -0.5]], "labels": [1]}, r"the point \(5, -0.5\) lies outside"),
        ({"box": [1, 2, 3]}, r"a box should be four numbers x0, y0, x1, y1, found the shape \(3,\)"),
        ({"box": [[1, 2, 3, 4]] * 2}, r"found the shape \(2, 4\)"),
        ({"box": [10, 10, 201, 20]}, r"the box corner \(201, 20\) lies outside"),
        ({"box": [20, 10, 10, 20]}, r"a box needs x0 < x1 and y0 < y1, found \[20.0, 10.0, 10.0, 20.0\]"),
        ({"box": [10, 20, 20, 20]}, "a box needs x0 < x1 and y0 < y1"),
        ({"box": [1, 2, 3, np.inf]}, "a box should be finite numbers"),
        ({"box": "1,2,3,4"}, "a box should be numbers, found '1,2,3,4'"),
    ],
    ids=str,
)
def test_refused_points(prompt: dict[str, Any], sentence: str) -> None:
    with warnings.catch_warnings(), pytest.raises(PromptError, match=sentence) as caught:
        warnings.simplefilter("error")
        read(**prompt)
    assert "\n" not in str(caught.value)


def test_ports_hold_the_points_in_the_first_slots() -> None:
    ports = point_ports(padded(read([[50, 75]], [1])), tiny_geometry(prompt_slots=4))
    np.testing.assert_array_equal(ports["points"], [[[16, 48], [0, 0], [0, 0], [0, 0]]])
    label = [[0, 0, 1, 0, 0], [1, 0, 0, 0, 0], [0] * 5, [0] * 5]
    np.testing.assert_array_equal(ports["point_label"], [label])
    assert {value.dtype for value in ports.values()} == {np.dtype(np.float32)}


def test_padding_follows_points_and_stands_twice_for_none() -> None:
    assert padded(read([[1, 1], [2, 2]], [1, 0])).labels.tolist() == [1, 0, -1]
    assert padded(read(box=[1, 1, 2, 2])).labels.tolist() == [2, 3, -1]
    assert padded(NO_POINTS).labels.tolist() == [-1, -1]


def test_the_slots_are_limited() -> None:
    g = tiny_geometry(prompt_slots=4)
    assert point_ports(padded(read([[1, 1]] * 3, [1] * 3)), g)["point_label"].sum() == 4
    with pytest.raises(PromptError, match=r"takes at most 3 points on a frame \(a box counts as two\), found 4"):
        point_ports(padded(read([[1, 1]] * 2, [1] * 2, [1, 1, 2, 2])), g)


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, np.float32, np.float64])
def test_a_mask_of_any_number_type(kind: Any) -> None:
    mask = np.zeros((100, 200), kind)
    mask[:50, 100:] = 1
    found = read_mask(mask, 200, 100, 64)
    expected = np.zeros((64, 64), np.float32)
    expected[:32, 32:] = 1
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(read_mask((mask * 255).tolist(), 200, 100, 64), expected)


def test_a_mask_of_the_models_size_stays_as_it_is() -> None:
    mask = np.random.default_rng(0).random((64, 64)) < 0.5
    np.testing.assert_array_equal(read_mask(mask, 64, 64, 64), mask.astype(np.float32))


def test_shrinking_averages_and_keeps_what_is_half_covered() -> None:
    mask = np.zeros((128, 128))
    mask[10, 10] = 1  # a single pixel of sixteen that count
    assert not read_mask(mask, 128, 128, 64).any()
    mask[:, 64:] = 1
    np.testing.assert_array_equal(read_mask(mask, 128, 128, 64), np.tile(np.arange(64) >= 32, (64, 1)))
    mask[:, 64] = 0  # weights 1, 3, 3, 1 of eight: now pixel 32 is covered by exactly a half
    np.testing.assert_array_equal(read_mask(mask, 128, 128, 64), np.tile(np.arange(64) >= 32, (64, 1)))


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (np.ones((200, 100)), r"the mask has the shape \(200, 100\), the frame is \(H, W\) = \(100, 200\)"),
        (np.ones((1, 100, 200)), r"the mask has the shape \(1, 100, 200\)"),
        (True, r"the mask has the shape \(\)"),
        (np.full((100, 200), "x"), "a mask should be boolean or numeric, found <U1"),
        (np.full((100, 200), np.nan), "a mask should be finite"),
        ([[1, 2], [1]], "a mask should be an array"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused_masks(mask: Any, sentence: str) -> None:
    with pytest.raises(PromptError, match=sentence):
        read_mask(mask, 200, 100, 64)


def test_mask_logits_take_two_shapes() -> None:
    logits = np.arange(16.0).reshape(1, 4, 4)
    for given in (logits, logits[0], logits.tolist()):
        found = read_mask_logits(given, 4)
        assert (found.shape, found.dtype) == ((4, 4), np.float32)
    with pytest.raises(PromptError, match=r"mask_input should have the shape \(1, 4, 4\), found \(4, 4, 1\)"):
        read_mask_logits(logits.reshape(4, 4, 1), 4)


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3), np.asarray(3)])
def test_integers_of_any_type(value: Any) -> None:
    assert read_object_id(value) == 3
    assert type(read_object_id(value)) is int


@pytest.mark.parametrize("value", [3.0, np.float32(3), "3", None, [3], np.asarray([3, 4])])
def test_nothing_else_is_an_integer(value: Any) -> None:
    with pytest.raises(PromptError, match="a number should be an integer, found"):
        read_integer(value, "a number")


def test_ids_fit_in_the_results() -> None:
    assert read_object_id(-(2**63)) == -(2**63)
    for value in (2**63, -(2**63) - 1):
        with pytest.raises(PromptError, match="should fit in 64 bits"):
            read_object_id(value)
