"""Prompts on the command line: which object they belong to, and what cannot be meant."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from etam_onnx.cli.prompts import ObjectPrompt, add_prompt_options, read_prompts

SIZE = (160, 120)


def prompts(text: str) -> dict[int, ObjectPrompt]:
    parser = argparse.ArgumentParser()
    add_prompt_options(parser, masks=True)
    return read_prompts(parser.parse_args(shlex.split(text)).prompts, SIZE)


def test_each_prompt_is_an_object_of_its_own() -> None:
    found = prompts("--point 10,20 --box 1,2,30,40 --point 50.5,60")
    assert list(found) == [1, 2, 3]
    assert found[1] == ObjectPrompt([(10, 20)], [1])
    assert found[2] == ObjectPrompt(box=(1, 2, 30, 40))
    assert found[3] == ObjectPrompt([(50.5, 60)], [1])


def test_numbers_gather_prompts_and_leave_the_rest_their_own() -> None:
    found = prompts("--point 2:10,20 --point 30,40 --not-point 2:11,21 --box 2:0,0,160,120 --point 50,60")
    assert list(found) == [2, 1, 3]
    assert found[2] == ObjectPrompt([(10, 20), (11, 21)], [1, 0], (0, 0, 160, 120))
    assert found[1].points == [(30, 40)]
    assert found[3].points == [(50, 60)]


def test_a_negative_point_without_a_number_belongs_to_the_only_object() -> None:
    assert prompts("--not-point 5,6 --point 10,20") == {1: ObjectPrompt([(10, 20), (5, 6)], [1, 0])}
    assert prompts("--not-point 5,6 --box 7:1,2,3,4")[7].labels == [0]


def test_masks(tmp_path: Path) -> None:
    labels = np.zeros((120, 160), np.uint8)
    labels[10:20, 10:20], labels[50:60, 50:60] = 1, 4
    palette = Image.fromarray(labels)
    palette.putpalette(list(range(256)) * 3)
    palette.save(tmp_path / "palette.png")
    Image.fromarray(labels).save(tmp_path / "grey.png")
    for name in ("palette.png", "grey.png"):
        found = prompts(f"--mask {tmp_path / name} --point 30,30")
        assert list(found) == [1, 4, 2]
        for number in (1, 4):
            np.testing.assert_array_equal(found[number].mask, labels == number)
    joined = prompts(f"--mask 3:{tmp_path / 'grey.png'}")
    assert list(joined) == [3]
    np.testing.assert_array_equal(joined[3].mask, labels > 0)

    Image.fromarray(((labels > 0) * 255).astype(np.uint8)).save(tmp_path / "white.png")
    Image.fromarray(labels > 0).save(tmp_path / "bits.png")
    for name in ("white.png", "bits.png"):
        found = prompts(f"--point 1,1 --mask {tmp_path / name}")
        assert list(found) == [1, 2]
        np.testing.assert_array_equal(found[2].mask, labels > 0)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "nothing to look for: give at least one --point X,Y or --box X0,Y0,X1,Y1"),
        ("--point here", "--point takes X,Y in pixels, found 'here'"),
        ("--point 10", "--point takes X,Y in pixels, found '10'"),
        ("--point 10,20,30", "--point takes X,Y in pixels, found '10,20,30'"),
        ("--point 10,nan", "--point takes X,Y in pixels, found '10,nan'"),
        ("--point a:10,20", "--point takes X,Y in pixels, found 'a:10,20'"),
        ("--box 1,2,3", "--box takes X0,Y0,X1,Y1 in pixels, found '1,2,3'"),
        ("--point 160,20", "--point 160,20 is outside the frame of 160x120 pixels"),
        ("--point=-1,20", "--point -1,20 is outside the frame of 160x120 pixels"),
        ("--point 1,1 --not-point 1:5,121", "--not-point 5,121 is outside the frame of 160x120 pixels"),
        ("--box 100,20,161,40", "--box 100,20,161,40 reaches outside the frame of 160x120 pixels"),
        ("--box 30,20,10,40", "--box 30,20,10,40 should have X0 < X1 and Y0 < Y1"),
        ("--box 1:1,1,5,5 --box 1:2,2,6,6", "object 1 has two boxes; give each object one"),
        ("--not-point 5,6", "--not-point 5,6 should name one of several objects, as in 1:5,6"),
        ("--point 1,1 --point 2,2 --not-point 5,6", "--not-point 5,6 should name one of several objects"),
        ("--point 1,1 --not-point 3:5,6", "object 3 has only a --not-point; give it a --point or a --box"),
        ("--point 0:1,1", "object numbers start at 1; 0 is the background"),
    ],
)
def test_what_cannot_be_meant(text: str, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        prompts(text)
    assert sentence in str(caught.value)


def test_masks_that_cannot_be_meant(tmp_path: Path) -> None:
    def mask(array: np.ndarray) -> Path:
        Image.fromarray(array).save(tmp_path / "mask.png")
        return tmp_path / "mask.png"

    with pytest.raises(ValueError, match=r"mask\.png is 80x60, but the frames are 160x120"):
        prompts(f"--mask {mask(np.ones((60, 80), np.uint8))}")
    with pytest.raises(ValueError, match=r"mask\.png is empty: all of it is 0"):
        prompts(f"--mask {mask(np.zeros((120, 160), np.uint8))}")
    with pytest.raises(ValueError, match=r"mask\.png is a RGB picture; it should be a palette or greyscale PNG"):
        prompts(f"--mask {mask(np.ones((120, 160, 3), np.uint8))}")
    ramp = np.tile(np.arange(160, dtype=np.uint8), (120, 1))
    with pytest.raises(ValueError, match=r"mask\.png has 159 different values, too many to be object numbers"):
        prompts(f"--mask {mask(ramp)}")
    with pytest.raises(FileNotFoundError, match=r"--mask: there is no file .*absent\.png"):
        prompts(f"--mask {tmp_path / 'absent.png'}")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"text\.png is not a picture"):
        prompts(f"--mask {tmp_path / 'text.png'}")
    one = mask((ramp > 80).astype(np.uint8))
    with pytest.raises(ValueError, match="object 1 has a mask and other prompts; a mask stands alone"):
        prompts(f"--mask {one} --point 1:5,5")
    with pytest.raises(ValueError, match="object 1 has two masks; give each object one"):
        prompts(f"--mask {one} --mask {one}")
