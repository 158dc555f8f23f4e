"""Masks as palette PNG files: the palette of DAVIS, object numbers as values, nothing unfinished."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from etam_onnx.cli.mask_folder import check_folder, davis_palette, label_map, mask_folder


def test_the_palette_is_the_one_of_davis(eval_video_dir: Path) -> None:
    palette = davis_palette()
    assert palette[:6].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [128, 128, 0],
        [0, 0, 128],
        [128, 0, 128],
    ]
    assert palette[255].tolist() == [224, 224, 192]
    assert len(np.unique(palette, axis=0)) == 256
    with Image.open(eval_video_dir / "dog" / "masks" / "00000.png") as annotation:
        published = np.array(annotation.getpalette(), np.uint8).reshape(-1, 3)
    np.testing.assert_array_equal(palette[: len(published)][:2], published[:2])


def test_each_pixel_goes_to_the_highest_logit_above_zero() -> None:
    logits = np.array([[[3.0, -1.0, 0.0, 2.0]], [[1.0, 0.5, -2.0, 5.0]]], np.float32)
    assert label_map([7, 200], logits).tolist() == [[7, 200, 0, 200]]
    assert label_map([9], logits[:1]).tolist() == [[9, 0, 0, 9]]
    assert label_map([], np.zeros((0, 2, 3), np.float32)).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert label_map([9], logits[:1]).dtype == np.uint8


@pytest.mark.parametrize("number", [0, 256, 1000])
def test_numbers_that_do_not_fit(number: int) -> None:
    sentence = f"object id {number} does not fit a palette PNG, which holds ids 1 to 255"
    with pytest.raises(ValueError, match=sentence):
        label_map([1, number], np.ones((2, 3, 4), np.float32))


def test_files_hold_the_numbers(tmp_path: Path) -> None:
    labels = np.array([[0, 1, 255], [2, 0, 3]], np.uint8)
    with mask_folder(tmp_path / "masks") as folder:
        for frame in (0, 12, 123456):
            folder.write(frame, labels)
        assert not (tmp_path / "masks").exists()
    assert sorted(p.name for p in (tmp_path / "masks").iterdir()) == ["00000.png", "00012.png", "123456.png"]
    assert [p.name for p in tmp_path.iterdir()] == ["masks"]
    with Image.open(tmp_path / "masks" / "00012.png") as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.array(picture), labels)
        np.testing.assert_array_equal(np.array(picture.convert("RGB"))[0, 1], [128, 0, 0])


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), mask_folder(tmp_path / "masks") as folder:
        folder.write(0, np.zeros((2, 2), np.uint8))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_masks_of_other_frames_are_not_mixed_in(tmp_path: Path) -> None:
    for name in ("00003.png", "notes.png", "00001.txt"):
        (tmp_path / name).touch()
    check_folder(tmp_path, range(2, 5))
    with pytest.raises(ValueError, match=r"holds 00003\.png, a mask of a frame that is not tracked now"):
        check_folder(tmp_path, range(3))
    check_folder(tmp_path / "new", range(3))
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*absent to write masks into"):
        check_folder(tmp_path / "absent" / "masks", range(3))
    with pytest.raises(NotADirectoryError, match=r"notes\.png is a file"):
        check_folder(tmp_path / "notes.png", range(3))
