"""Opening a video as a file, a folder of pictures or arrays: frames, order, sizes, one-sentence errors."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from painted_video import encode, number_in, numbered_frames
from PIL import Image

from etam_onnx.runtime.frames import natural_key, open_video, read_picture
from etam_onnx.runtime.video import VideoError


def save(path: Path, frame: np.ndarray, **options: object) -> None:
    Image.fromarray(frame).save(path, **options)


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    frames = numbered_frames(12)
    for index, frame in enumerate(frames):
        save(tmp_path / f"frame{index}.{'png' if index % 2 else 'jpg'}", frame, quality=95)
    (tmp_path / "notes.txt").write_text("not a frame")
    (tmp_path / ".hidden.jpg").write_bytes(b"left by another program")
    video = open_video(tmp_path)
    assert len(video) == 12
    assert video.size == (160, 120)
    assert video.fps is None
    assert [number_in(frame) for frame in video] == list(range(12))
    np.testing.assert_array_equal(video[-1], frames[11])
    np.testing.assert_array_equal(video[3], frames[3])


def test_natural_order() -> None:
    names = ["a10.png", "a9.png", "B1.png", "a09x2.png", "3.png", "020.png"]
    assert sorted(names, key=natural_key) == ["3.png", "020.png", "a9.png", "a09x2.png", "a10.png", "B1.png"]


def test_pictures_are_turned_upright_by_their_orientation(tmp_path: Path) -> None:
    frame = numbered_frames(1, (96, 64))[0]
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to view
    for index in range(2):
        save(tmp_path / f"{index}.png", frame, exif=exif)
    video = open_video(tmp_path)
    assert video.size == (64, 96)
    np.testing.assert_array_equal(video[0], np.rot90(frame, -1))


def test_grey_palette_and_transparent_pictures_become_rgb(tmp_path: Path) -> None:
    grey = np.arange(120, dtype=np.uint8).reshape(10, 12)
    save(tmp_path / "grey.png", grey)
    np.testing.assert_array_equal(read_picture(tmp_path / "grey.png"), np.dstack([grey] * 3))
    colour = numbered_frames(1, (64, 32))[0]
    save(tmp_path / "alpha.png", np.dstack([colour, np.full((32, 64), 9, np.uint8)]))
    np.testing.assert_array_equal(read_picture(tmp_path / "alpha.png"), colour)
    Image.fromarray(grey.astype(np.uint16) * 256).save(tmp_path / "deep.png")
    with pytest.raises(VideoError, match=r"deep\.png has more than 8 bits per channel"):
        read_picture(tmp_path / "deep.png")


def test_folders_that_are_no_video(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(VideoError, match=r"empty holds no JPEG or PNG frames"):
        open_video(empty)

    mixed = tmp_path / "mixed"
    mixed.mkdir()
    save(mixed / "0.png", np.zeros((20, 30, 3), np.uint8))
    save(mixed / "1.png", np.zeros((20, 31, 3), np.uint8))
    with pytest.raises(VideoError, match=r"1\.png is 31x20, but 0\.png is 30x20"):
        open_video(mixed)

    twice = tmp_path / "twice"
    twice.mkdir()
    save(twice / "0.png", np.zeros((20, 30, 3), np.uint8))
    save(twice / "0.jpg", np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(VideoError, match=r"holds frame 0 twice: 0\.jpg and 0\.png"):
        open_video(twice)

    damaged = tmp_path / "damaged"
    damaged.mkdir()
    save(damaged / "0.jpg", numbered_frames(1)[0])
    (damaged / "1.jpg").write_bytes((damaged / "0.jpg").read_bytes()[:2000])
    (damaged / "2.jpg").write_bytes(b"no picture")
    with pytest.raises(VideoError, match=r"cannot read .*2\.jpg: it is not a picture"):
        open_video(damaged)
    (damaged / "2.jpg").unlink()
    video = open_video(damaged)
    assert number_in(video[0]) == 0
    with pytest.raises(VideoError, match=r"cannot read .*1\.jpg: .*truncated"):
        video[1]


def test_arrays_in_memory() -> None:
    frames = numbered_frames(5)
    for source in (frames, tuple(frames), np.stack(frames)):
        video = open_video(source)
        assert (len(video), video.size) == (5, (160, 120))
        np.testing.assert_array_equal(video[4], frames[4])
        video[4][:] = 0
        np.testing.assert_array_equal(video[4], frames[4])
    assert open_video(video) is video


@pytest.mark.parametrize(
    ("frames", "sentence"),
    [
        ([], "the sequence of frames is empty"),
        ([np.zeros((4, 5, 3))], r"frame 0 must be a uint8 RGB array .*found float64 \(4, 5, 3\)"),
        ([np.zeros((4, 5), np.uint8)], r"frame 0 must be .*found uint8 \(4, 5\)"),
        (np.zeros((4, 5, 3), np.uint8), r"frame 0 must be .*found uint8 \(5, 3\)"),
        ([np.zeros((0, 5, 3), np.uint8)], r"frame 0 is empty: its shape is \(0, 5, 3\)"),
        (["a", "b"], "frame 0 must be .*found a str"),
        (
            [np.zeros((4, 5, 3), np.uint8), np.zeros((4, 6, 3), np.uint8)],
            "frame 1 is 6x4, but the first frame is 5x4",
        ),
        (17, "a video is a path or a sequence of frames, not a int"),
    ],
)
def test_arrays_that_are_no_video(frames: object, sentence: str) -> None:
    with pytest.raises(VideoError, match=sentence):
        open_video(frames)


def test_files_that_are_no_video(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file or folder .*absent\.mp4"):
        open_video(tmp_path / "absent.mp4")
    (tmp_path / "text.mp4").write_text("this is not a video\n" * 50)
    with pytest.raises(VideoError, match=r"cannot read .*text\.mp4 as a video: it is damaged, cut short or not"):
        open_video(tmp_path / "text.mp4")
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(VideoError, match=r"cannot read .*empty\.mp4 as a video: it is empty"):
        open_video(tmp_path / "empty.mp4")
    save(tmp_path / "photo.jpg", numbered_frames(1)[0])
    with pytest.raises(VideoError, match=r"photo\.jpg is a single picture, not a video"):
        open_video(tmp_path / "photo.jpg")


def test_numbers_outside_the_video_and_a_closed_one(tmp_path: Path) -> None:
    with open_video(encode(tmp_path / "five.mp4", numbered_frames(5))) as video:
        assert video.fps == Fraction(30000, 1001)
        assert number_in(video[-2]) == 3
        for index in (5, -6):
            with pytest.raises(IndexError, match=f"frame {index} is outside the video of 5 frames"):
                video[index]
    with pytest.raises(VideoError, match="the video is closed"):
        video[0]
