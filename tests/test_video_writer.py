"""The video that is written: exact rate, colours, odd sizes, and nothing unfinished left behind."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from painted_video import number_in, numbered_frames

from etam_onnx.cli.video_writer import even_size, video_writer
from etam_onnx.runtime.frames import open_video


@pytest.mark.parametrize(
    "rate",
    [24, 25, 29.97, 7.5, 240, 1, *map(Fraction, ("30000/1001", "24000/1001", "2997/125", "14351/503"))],
)
def test_the_rate_is_kept_exactly(tmp_path: Path, rate: float | Fraction) -> None:
    path = tmp_path / "out.mp4"
    with video_writer(path, rate, (160, 120)) as writer:
        for frame in numbered_frames(25):
            writer.write(frame)
    exact = Fraction(rate).limit_denominator(100_000)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == exact
        assert stream.frames == 25
        times = [frame.time for frame in container.decode(stream)]
    np.testing.assert_allclose(times, [float(i / exact) for i in range(25)], rtol=1e-9)
    video = open_video(path)
    assert video.fps == exact
    assert [number_in(frame) for frame in video] == list(range(25))


def test_what_players_need(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with video_writer(path, 24, (160, 120)) as writer:
        writer.write(numbered_frames(1)[0])
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        frame = next(container.decode(stream))
        assert (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range) == (1, 1, 1, 1)
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # plays while it loads


def test_colours_survive(tmp_path: Path) -> None:
    colours = [
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
        (255, 255, 255),
        (0, 0, 0),
        (200, 30, 60),
        (30, 160, 90),
    ]
    for colour in colours:
        path = tmp_path / "flat.mp4"
        with video_writer(path, 24, (640, 480)) as writer:
            writer.write(np.full((480, 640, 3), colour, np.uint8))
        error = np.abs(open_video(path)[0].astype(int) - colour).max()
        assert error <= 3, f"{colour} is off by {error}"


@pytest.mark.parametrize("size", [(161, 121), (160, 121), (161, 120), (1, 1)])
def test_an_odd_side_gains_a_repeated_edge(tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    frame = np.full((height, width, 3), 90, np.uint8)
    frame[-1:], frame[:, -1:] = 200, 200
    path = tmp_path / "odd.mp4"
    with video_writer(path, 24, size) as writer:
        for _ in range(3):
            writer.write(frame)
    video = open_video(path)
    assert video.size == even_size(size)
    padded = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    # Quantisation beside the sharp edge; a black or wrapped border would be off by 90 and more.
    assert np.abs(video[2].astype(int) - padded).max() <= 18


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"the earlier result")
    for error in (ValueError("no memory of that"), KeyboardInterrupt(), SystemExit(143)):
        with pytest.raises(type(error)), video_writer(path, 24, (160, 120)) as writer:
            for frame in numbered_frames(3):
                writer.write(frame)
            assert len(list(tmp_path.iterdir())) == 2
            raise error
        assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("out.mp4", b"the earlier result")]


def test_a_finished_file_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"the earlier result")
    with video_writer(path, 24, (160, 120)) as writer:
        writer.write(numbered_frames(1)[0])
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]
    assert len(open_video(path)) == 1


def test_what_cannot_be_written(tmp_path: Path) -> None:
    def write(name: str, rate: float = 24, frame: np.ndarray | None = None) -> None:
        with video_writer(tmp_path / name, rate, (160, 120)) as writer:
            if frame is not None:
                writer.write(frame)

    with pytest.raises(ValueError, match=r"out\.avi should end in \.mp4, \.m4v, \.mov"):
        write("out.avi")
    with pytest.raises(ValueError, match="the rate must be above 0 frames per second, found -1"):
        write("out.mp4", -1)
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*absent to write out\.mp4 into"):
        write("absent/out.mp4")
    with pytest.raises(ValueError, match=r"no frame was written to .*out\.mp4"):
        write("out.mp4")
    with pytest.raises(ValueError, match="frame 0 to write is 30x20, but the first frame is 160x120"):
        write("out.mp4", frame=np.zeros((20, 30, 3), np.uint8))
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(IsADirectoryError, match=r"folder\.mp4 is a folder; name a file to write"):
        write("folder.mp4")
    assert [p.name for p in tmp_path.iterdir()] == ["folder.mp4"]
