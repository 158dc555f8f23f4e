"""Masks as pictures: palettes, ids, predictions beside annotations, and run lengths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from etam_onnx.evaluation.prediction_folders import find_mask_folders, read_mask_pairs
from etam_onnx.evaluation.worst_frames import WorstFrame, WorstFrames, segmentation
from etam_onnx.runtime.label_maps import object_ids, read_label_map
from etam_onnx.runtime.run_lengths import CocoMask, lengths_of_text


def write_masks(folder: Path, frames: list[int], size_hw: tuple[int, int] = (6, 9)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in frames:
        labels = np.zeros(size_hw, dtype=np.uint8)
        labels[1:3, 2:5] = 4
        Image.fromarray(labels).save(folder / f"{number:05d}.png")


@pytest.mark.parametrize("palette", [True, False])
def test_a_label_map_is_the_index_and_not_the_colour(tmp_path: Path, palette: bool) -> None:
    labels = np.random.default_rng(0).integers(0, 256, (11, 17), dtype=np.uint8)
    picture = Image.fromarray(labels)
    if palette:
        picture.putpalette([0, 128, 7] * 256)
    picture.save(tmp_path / "00000.png")
    assert np.array_equal(read_label_map(tmp_path / "00000.png"), labels)


def test_object_ids_may_have_gaps() -> None:
    assert object_ids(np.array([[0, 200], [3, 200]], dtype=np.uint8)) == [3, 200]
    assert object_ids(np.zeros((2, 2), dtype=np.uint8)) == []


def test_pictures_that_hold_no_ids_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (9, 6)).save(tmp_path / "colour.png")
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(ValueError, match=r"colour\.png has mode RGB; masks are palette or greyscale"):
        read_label_map(tmp_path / "colour.png")
    with pytest.raises(ValueError, match=r"torn\.png cannot be read"):
        read_label_map(tmp_path / "torn.png")
    with pytest.raises(FileNotFoundError, match=r"gone\.png does not exist"):
        read_label_map(tmp_path / "gone.png")


def test_masks_alone_lie_in_either_layout(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no masks"):
        find_mask_folders(tmp_path)
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        find_mask_folders(tmp_path / "nowhere")
    write_masks(tmp_path / "plain", [0])
    write_masks(tmp_path / "nested" / "masks", [0])
    assert find_mask_folders(tmp_path) == {
        "nested": tmp_path / "nested" / "masks",
        "plain": tmp_path / "plain",
    }


def test_pairs_name_what_is_missing_or_of_another_size(tmp_path: Path) -> None:
    write_masks(tmp_path / "truth", [0, 1])
    write_masks(tmp_path / "short", [0])
    write_masks(tmp_path / "small", [0, 1], size_hw=(3, 9))
    write_masks(tmp_path / "more", [0, 1, 2])
    (tmp_path / "truth" / "._0.png").write_bytes(b"a resource fork")
    assert len(list(read_mask_pairs("clip", tmp_path / "more", tmp_path / "truth"))) == 2
    with pytest.raises(FileNotFoundError, match="sequence clip: there is no prediction for frame 00001"):
        list(read_mask_pairs("clip", tmp_path / "short", tmp_path / "truth"))
    with pytest.raises(ValueError, match="frame 00000: the prediction is 9x3 pixels, the annotation 9x6"):
        list(read_mask_pairs("clip", tmp_path / "small", tmp_path / "truth"))


def test_run_lengths_are_read_as_coco_writes_them() -> None:
    # Two columns of two pixels: off, on, on, off.
    expected = np.array([[False, True], [True, False]])
    assert np.array_equal(CocoMask({"size": [2, 2], "counts": [1, 2, 1]}).pixels(), expected)
    # From the fourth run on differences are stored: 5, 37, 5, then 100 - 37 = 63, then 13 - 5 = 8.
    assert lengths_of_text("5U15o18").tolist() == [5, 37, 5, 100, 13]


@pytest.mark.parametrize("seed", range(4))
def test_text_gives_back_the_mask(seed: int) -> None:
    generator = np.random.default_rng(seed)
    mask = np.kron(generator.random((7, 5)) > 0.5, np.ones((6, 11))).astype(np.bool_)
    assert np.array_equal(CocoMask(segmentation(mask)).pixels(), mask)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"size": [2, 2], "counts": [1, 2]}, "runs of 3 pixels do not make a mask of 2x2"),
        ({"counts": [4]}, "a mask should be"),
        ({"size": [2, 2], "counts": "1 "}, "a mask should be"),
        ({"size": [2, 2], "counts": "1o"}, "a mask should be"),
        ([[0, 0, 1, 1]], "a mask should be"),
    ],
)
def test_damaged_run_lengths_are_refused(entry: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CocoMask(entry)


def test_the_worst_frame_of_each_third_is_kept_and_survives_json() -> None:
    worst = WorstFrames(7)
    for position, j in enumerate([90.0, 40.0, 50.0, 80.0, 20.0, 30.0, 20.0]):
        worst.add(position, 5 * position, j, {2: np.full((2, 3), position > 2)})
    assert [(found.frame, found.j) for found in worst.result()] == [(5, 40.0), (20, 20.0), (30, 20.0)]
    again = WorstFrame.from_json(worst.result()[1].as_json())
    assert again.frame == 20 and list(again.masks) == [2]
    assert np.array_equal(again.masks[2], np.ones((2, 3), np.bool_))
    assert again.as_json() == worst.result()[1].as_json()
