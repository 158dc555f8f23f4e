"""Reading sequences and masks from disk: layouts, palettes, and what is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from etam_onnx.evaluation.label_maps import object_ids, read_label_map
from etam_onnx.evaluation.sequences import find_annotated_sequences, find_mask_folders, read_mask_pairs


def write_frame(path: Path, size_hw: tuple[int, int] = (6, 9)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size_hw[1], size_hw[0])).save(path)


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
    write_frame(tmp_path / "colour.png")
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(ValueError, match=r"colour\.png has mode RGB; masks are palette or greyscale"):
        read_label_map(tmp_path / "colour.png")
    with pytest.raises(ValueError, match=r"torn\.png cannot be read"):
        read_label_map(tmp_path / "torn.png")
    with pytest.raises(FileNotFoundError, match=r"gone\.png does not exist"):
        read_label_map(tmp_path / "gone.png")


def test_images_beside_masks(eval_video_dir: Path) -> None:
    sequences = find_annotated_sequences(eval_video_dir)
    assert [sequence.name for sequence in sequences] == ["blackswan", "car-shadow", "chair", "dog"]
    assert [len(sequence.frames) for sequence in sequences] == [50, 40, 60, 60]
    assert sequences[2].size_hw == (480, 720)
    assert {frame: list(masks) for frame, masks in sequences[3].first_masks().items()} == {0: [1]}


def test_the_folders_of_davis_and_sparse_annotations(tmp_path: Path) -> None:
    for name in ("bear", "camel"):
        for number in range(9):
            write_frame(tmp_path / "JPEGImages" / "480p" / name / f"{number:05d}.jpg")
        write_masks(tmp_path / "Annotations" / "480p" / name, [0, 4, 8])
    camel, bear = find_annotated_sequences(tmp_path, ["camel", "bear"])
    assert (camel.name, bear.name) == ("camel", "bear")
    assert list(camel.masks) == [0, 4, 8]
    assert camel.frames.folder == tmp_path / "JPEGImages" / "480p" / "camel"
    with pytest.raises(FileNotFoundError, match="sequence horse is not in"):
        find_annotated_sequences(tmp_path, ["horse"])


def test_a_mask_without_its_frame_is_an_error(tmp_path: Path) -> None:
    write_frame(tmp_path / "clip" / "images" / "00000.jpg")
    write_masks(tmp_path / "clip" / "masks", [0, 1])
    with pytest.raises(ValueError, match=r"sequence clip: mask 00001\.png has no frame"):
        find_annotated_sequences(tmp_path)


def test_folders_without_sequences_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no sequence"):
        find_annotated_sequences(tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no masks"):
        find_mask_folders(tmp_path)
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        find_mask_folders(tmp_path / "nowhere")
    write_frame(tmp_path / "clip" / "images" / "00000.jpg")
    with pytest.raises(FileNotFoundError, match="sequence clip has no masks"):
        find_annotated_sequences(tmp_path)


def test_masks_alone_lie_in_either_layout(tmp_path: Path) -> None:
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
    assert len(list(read_mask_pairs("clip", tmp_path / "more", tmp_path / "truth"))) == 2
    with pytest.raises(FileNotFoundError, match="sequence clip: there is no prediction for frame 00001"):
        list(read_mask_pairs("clip", tmp_path / "short", tmp_path / "truth"))
    with pytest.raises(ValueError, match="frame 00000: the prediction is 9x3 pixels, the annotation 9x6"):
        list(read_mask_pairs("clip", tmp_path / "small", tmp_path / "truth"))
