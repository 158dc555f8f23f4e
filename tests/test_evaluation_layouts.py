"""Annotated videos on disk: layouts are recognised and read, and what is missing is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from written_videos import save, scene, write_flat, write_meta, write_sa_v, write_video

from etam_onnx.evaluation.layouts import read_dataset, recognised_format


def test_images_beside_masks(eval_video_dir: Path) -> None:
    dataset = read_dataset(eval_video_dir)
    assert dataset.format == "folders"
    assert [sequence.name for sequence in dataset.sequences] == ["blackswan", "car-shadow", "chair", "dog"]
    assert [len(sequence.frames) for sequence in dataset.sequences] == [50, 40, 60, 60]
    assert dataset.sequences[2].size_hw == (480, 720)
    first = dataset.sequences[3].first_masks()
    assert {frame: list(masks) for frame, masks in first.items()} == {0: [1]}


@pytest.mark.parametrize("resolution", ["480p", "Full-Resolution"])
def test_davis_takes_255_for_background_and_brings_its_own_list(tmp_path: Path, resolution: str) -> None:
    for name in ("bear", "camel", "dog"):
        images, masks = (tmp_path / folder / resolution / name for folder in ("JPEGImages", "Annotations"))
        write_video(images, masks, {1: 0, 2: 0}, annotated=[0, 4])
        labels = scene(4, {1: 0, 2: 0})[1]
        labels[:2] = 255
        save(masks / "00004.png", labels)
    (tmp_path / "ImageSets" / "2017").mkdir(parents=True)
    (tmp_path / "ImageSets" / "2017" / "val.txt").write_text("dog\nbear\n")
    dataset = read_dataset(tmp_path)
    assert dataset.format == "davis" and dataset.listed == tmp_path / "ImageSets" / "2017" / "val.txt"
    assert [sequence.name for sequence in dataset.sequences] == ["dog", "bear"]
    assert dataset.sequences[0].annotated_frames == [0, 4]
    truth = dataset.sequences[0].annotation(4)
    assert list(truth.masks) == [1, 2]
    assert truth.void is None
    assert [sequence.name for sequence in read_dataset(tmp_path, names=["camel"]).sequences] == ["camel"]
    (tmp_path / "mine.txt").write_text("camel\n\nbear\ncamel\n")
    listed = read_dataset(tmp_path, listed=tmp_path / "mine.txt")
    assert [sequence.name for sequence in listed.sequences] == ["camel", "bear"]


def test_the_object_of_davis_2016_has_label_255(tmp_path: Path) -> None:
    images, masks = (tmp_path / folder / "480p" / "bear" for folder in ("JPEGImages", "Annotations"))
    write_video(images, masks, {1: 0})
    for number in range(6):
        save(masks / f"{number:05d}.png", 255 * scene(number, {1: 0})[1])
    (sequence,) = read_dataset(tmp_path).sequences
    assert {frame: list(found) for frame, found in sequence.first_masks().items()} == {0: [255]}


def test_the_flat_layouts_are_told_apart_by_their_meta(tmp_path: Path) -> None:
    write_flat(tmp_path / "mose", "clip", {1: 0, 2: 2})
    write_flat(tmp_path / "lvos", "clip", {1: 0, 2: 2})
    ranges = {"start": "0", "end": "4", "frame_nums": "4"}
    write_meta(tmp_path / "lvos" / "meta.json", {"clip": {1: {"frame_range": ranges}}})
    write_flat(tmp_path / "youtube", "clip", {1: 0, 2: 5}, n_frames=11, annotated=[0, 5, 10])
    write_meta(tmp_path / "youtube" / "meta.json", {"clip": {1: {"category": "cat"}, 2: {"category": "giraffe"}}})
    assert recognised_format(tmp_path / "mose") == "mose"
    (lvos,) = read_dataset(tmp_path / "lvos").sequences
    assert lvos.until == {1: 4}
    dataset = read_dataset(tmp_path / "youtube")
    (youtube,) = dataset.sequences
    assert dataset.format == "youtube-vos"
    assert youtube.annotated_frames == [0, 5, 10]
    assert youtube.categories == {1: "cat", 2: "giraffe"}
    assert {frame: list(masks) for frame, masks in youtube.first_masks().items()} == {0: [1], 5: [2]}


def test_lvos_ranges_are_in_numbers_of_files(tmp_path: Path) -> None:
    write_video(tmp_path / "JPEGImages" / "clip", tmp_path / "Annotations" / "clip", {1: 0}, n_frames=12, name="{:08d}")
    for number in range(4):  # the video starts at file number 4
        (tmp_path / "JPEGImages" / "clip" / f"{number:08d}.png").unlink()
        (tmp_path / "Annotations" / "clip" / f"{number:08d}.png").unlink()
    write_meta(tmp_path / "meta.json", {"clip": {1: {"frame_range": {"start": 4, "end": 9}}}})
    assert read_dataset(tmp_path).sequences[0].until == {1: 5}


def test_sa_v_has_a_folder_per_object(tmp_path: Path) -> None:
    write_sa_v(tmp_path, "sav_000001", {1: 0, 2: 6})
    write_sa_v(tmp_path, "sav_000002", {1: 0})
    (tmp_path / "sav_val.txt").write_text("sav_000001\n")
    dataset = read_dataset(tmp_path)
    (sequence,) = dataset.sequences
    assert dataset.format == "sa-v" and sequence.name == "sav_000001" and sequence.overlapping
    assert len(sequence.frames) == 17 and sequence.annotated_frames == [0, 4, 8, 12, 16]
    assert {frame: list(masks) for frame, masks in sequence.first_masks().items()} == {0: [0], 8: [1]}
    assert np.array_equal(sequence.annotation(8).masks[1], scene(8, {1: 0, 2: 6})[1] == 2)
    (tmp_path / "Annotations_6fps" / "sav_000001" / "hat").mkdir()
    with pytest.raises(ValueError, match=r"hat should be named by an object's number"):
        read_dataset(tmp_path)


def test_frames_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    write_video(tmp_path / "clip" / "images", tmp_path / "clip" / "masks", {1: 0}, 11, [0, 9, 10], name="{}")
    (sequence,) = read_dataset(tmp_path).sequences
    assert sequence.frame_names == tuple(str(number) for number in range(11))
    assert sequence.annotated_frames == [0, 9, 10]
    assert np.array_equal(sequence.annotation(10).masks[1], scene(10, {1: 0})[1] == 1)


def test_frames_are_in_the_order_of_the_video(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "a1", "a2")):
        frame, labels = scene(number, {1: 0})
        save(tmp_path / "clip" / "images" / f"{name}.png", frame)
        save(tmp_path / "clip" / "masks" / f"{name}.png", labels)
    (tmp_path / "clip" / "masks" / "._a.png").write_bytes(b"a resource fork")
    (sequence,) = read_dataset(tmp_path).sequences
    assert sequence.frame_names == tuple(path.stem for path in sequence.frames.paths)
    for number in sequence.annotated_frames:
        shown = (sequence.frames[number] == scene(0, {1: 0})[0][10, 10]).all(axis=2)
        assert np.array_equal(sequence.annotation(number).masks[1], shown)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no sequence in a known layout"):
        read_dataset(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        read_dataset(tmp_path / "nowhere")
    save(tmp_path / "clip" / "images" / "00000.png", scene(0, {})[0])
    with pytest.raises(FileNotFoundError, match="sequence clip has no masks"):
        read_dataset(tmp_path)
    for number in (0, 1):
        save(tmp_path / "clip" / "masks" / f"{number:05d}.png", scene(0, {1: 0})[1])
    with pytest.raises(ValueError, match=r"sequence clip: mask 00001\.png has no frame"):
        read_dataset(tmp_path)
    with pytest.raises(FileNotFoundError, match="sequence horse is not in"):
        read_dataset(tmp_path, names=["horse"])
    with pytest.raises(FileNotFoundError, match="there is no list of sequences"):
        read_dataset(tmp_path, listed=tmp_path / "val.txt")
    with pytest.raises(FileNotFoundError, match="holds no video in the layout sa-v"):
        read_dataset(tmp_path, "sa-v")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(ValueError, match="names no sequence"):
        read_dataset(tmp_path, listed=tmp_path / "empty.txt")


def test_a_damaged_meta_is_named(tmp_path: Path) -> None:
    write_flat(tmp_path, "clip", {1: 0})
    (tmp_path / "meta.json").write_text('{"videos": ["clip"]}')
    with pytest.raises(ValueError, match=r"meta\.json is not a meta\.json with the objects of each video"):
        read_dataset(tmp_path)
    (tmp_path / "meta.json").write_text('{"videos": {"clip": {"objects": {"1": null}}}}')
    with pytest.raises(ValueError, match=r"meta\.json is not a meta\.json with the objects of each video"):
        read_dataset(tmp_path)
    for facts in ({"frame_range": {"start": 0}}, {"frame_range": 5}, {"frame_range": {"end": "last"}}):
        write_meta(tmp_path / "meta.json", {"clip": {1: facts}})
        with pytest.raises(ValueError, match=r"sequence clip: what meta\.json says of its objects does not fit"):
            read_dataset(tmp_path)
