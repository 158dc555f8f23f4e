"""Decoded frames that are drawn on and encoded again as they are: which ones, and what becomes of them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from painted_video import BLUE, RED, ColourPredictor, disc_frames, discs, encode, number_in, numbered_frames
from PIL import Image

from etam_onnx.cli import track
from etam_onnx.cli.main import main
from etam_onnx.cli.shared_frames import SharedFrames
from etam_onnx.cli.video_writer import VideoWriter, video_writer
from etam_onnx.runtime.frames import open_video
from etam_onnx.runtime.video import VideoError

COUNT = 12
TAGGED = {"x264-params": "colormatrix=bt709:colorprim=bt709:transfer=bt709"}
HIGH = (1280, 64)  # players take untagged video for BT.709 from this width on


def clip(path: Path, frames: list[np.ndarray]) -> Path:
    with video_writer(path, 24, (frames[0].shape[1], frames[0].shape[0])) as writer:
        for frame in frames:
            writer.write(frame)
    return path


FITTING = {
    "tagged.mp4": {"options": TAGGED},
    "tagged.mkv": {"options": TAGGED},
    "large untagged.mp4": {"frames": [np.full((HIGH[1], HIGH[0], 3), 90, np.uint8)] * COUNT},
}
OTHERS = {
    "small untagged.mp4": {},
    "another matrix.mp4": {"options": {"x264-params": "colormatrix=smpte170m"}},
    "full range.mp4": {"options": {"x264-params": "colormatrix=bt709:fullrange=on"}, "pixels": "yuvj420p"},
    "4:4:4.mp4": {"options": TAGGED, "pixels": "yuv444p"},
    "ten bits.mp4": {"options": TAGGED, "pixels": "yuv420p10le"},
    "odd width.webm": {"codec": "libvpx-vp9", "frames": [np.zeros((68, 1281, 3), np.uint8)] * COUNT},
    "not by four.mp4": {"frames": [np.zeros((66, 1280, 3), np.uint8)] * COUNT},
    "turned.mp4": {"options": TAGGED, "turn": {"degrees": 90}},
}


@pytest.mark.parametrize("name", FITTING)
def test_frames_that_all_players_show_are_given_as_they_are(tmp_path: Path, name: str) -> None:
    options = dict(FITTING[name])
    path = encode(tmp_path / name, options.pop("frames", numbered_frames(COUNT)), **options)
    with av.open(str(path)) as container:
        expected = [frame.to_ndarray() for frame in container.decode(video=0)]
    with open_video(path) as video:
        for index in (5, 0, COUNT - 1, -2, 3):
            frame = video.stored(index)
            assert frame is not None
            np.testing.assert_array_equal(frame.to_ndarray(), expected[index])
        with pytest.raises(IndexError, match="frame 12 is outside the video of 12 frames"):
            video.stored(COUNT)
    with pytest.raises(VideoError, match="the video is closed"):
        video.stored(0)


@pytest.mark.parametrize("name", OTHERS)
def test_others_are_not(tmp_path: Path, name: str) -> None:
    options = dict(OTHERS[name])
    frames = options.pop("frames", numbered_frames(COUNT))
    with open_video(encode(tmp_path / name, frames, **options)) as video:
        assert video.size in ((160, 120), (120, 160), (1281, 68), (1280, 66))
        assert video.stored(3) is None
        assert video[3].shape[:2] == video.size[::-1]


def test_folders_and_arrays_have_none(tmp_path: Path) -> None:
    frames = numbered_frames(2)
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{index}.png")
    assert open_video(tmp_path).stored(0) is open_video(frames).stored(1) is None


def test_two_threads_share_them(tmp_path: Path) -> None:
    video = open_video(clip(tmp_path / "clip.mp4", numbered_frames(COUNT)))
    shared = SharedFrames(video)
    for index in range(COUNT):
        assert number_in(shared[index]) == index
        late = max(0, index - 3)
        frame = shared.stored(late)
        assert frame is not None
        assert number_in(frame.to_ndarray(format="rgb24")) == late


def test_they_are_written_without_becoming_rgb(tmp_path: Path) -> None:
    video = open_video(clip(tmp_path / "clip.mp4", numbered_frames(COUNT, (854, 480))))
    out = tmp_path / "out.mp4"
    frames = [video.stored(index) for index in range(COUNT)]
    originals = [frame.to_ndarray() for frame in frames]
    with video_writer(out, Fraction(25), video.size) as writer:
        for original in originals:
            writer.write(VideoFrame.from_numpy_buffer(original, format="yuv420p"))
    again = open_video(out)
    assert (len(again), again.size, again.fps) == (COUNT, (854, 480), 25)
    for index, original in enumerate(originals):
        frame = again.stored(index)
        assert frame is not None
        error = np.abs(frame.to_ndarray().astype(int) - original)
        assert error.mean() < 1.0  # the encoder's; 0.5 measured
        np.testing.assert_array_equal(frames[index].to_ndarray(), original)


def test_a_frame_of_another_kind_is_one_sentence(tmp_path: Path) -> None:
    for size, pixels, found in (
        ((64, 48), "yuv420p", "64x48 in yuv420p"),
        ((160, 120), "yuv444p", "160x120 in yuv444p"),
    ):
        with (
            pytest.raises(VideoError, match=f"frame 0 to write is {found}, and should be 160x120 in yuv420p"),
            video_writer(tmp_path / "out.mp4", 24, (160, 120)) as writer,
        ):
            writer.write(VideoFrame(*size, pixels))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [[], ["--start", "6"], ["--start", "9", "--reverse"]])
def test_track_draws_on_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    kinds: list[type] = []
    write = VideoWriter.write

    def noted(self: VideoWriter, frame: np.ndarray | VideoFrame) -> None:
        kinds.append(type(frame))
        write(self, frame)

    monkeypatch.setattr(track, "load_predictor", lambda options: ColourPredictor())
    path = clip(tmp_path / "clip.mp4", disc_frames(COUNT))
    monkeypatch.setattr(VideoWriter, "write", noted)
    start = int(words[1]) if words else 0
    point = ["--point", f"{30 + 3 * start},40"]
    out, rgb_out = tmp_path / "out.mp4", tmp_path / "rgb.mp4"
    assert main(["track", str(path), *point, *words, "-o", str(out)]) == 0
    assert kinds == [VideoFrame] * COUNT
    monkeypatch.setattr(SharedFrames, "_stored", lambda self, index: None)
    assert main(["track", str(path), *point, *words, "-o", str(rgb_out)]) == 0
    assert kinds[COUNT:] == [np.ndarray] * COUNT
    with open_video(out) as found, open_video(rgb_out) as expected:
        assert (len(found), found.fps) == (COUNT, expected.fps)
        for index in range(COUNT):
            difference = np.abs(found[index].astype(int) - expected[index])
            assert difference.mean() < 3  # 1.2 measured: other roundings, and the encoder's own
            middle = np.argwhere(discs(index)["blue"]).mean(0).round().astype(int)
            assert np.abs(found[index][middle[0], middle[1]].astype(int) - BLUE).max() < 12
            middle = np.argwhere(discs(index)["red"]).mean(0).round().astype(int)
            tinted = np.abs(found[index][middle[0], middle[1]].astype(int) - RED).max() > 30
            assert tinted == (index <= start if "--reverse" in words else index >= start)
