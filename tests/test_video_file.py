"""Frames of a video file by number: as decoded from the start, whatever the format and the order."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from painted_video import NTSC, decoded, encode, number_in, numbered_frames

from etam_onnx.runtime import video_file
from etam_onnx.runtime.video import VideoError
from etam_onnx.runtime.video_file import VideoFile

COUNT = 60
FORMATS: dict[str, dict[str, object]] = {
    "closed groups.mp4": {"codec": "libx264"},
    "open groups.mp4": {"options": {"x264-params": "open-gop=1:keyint=12:bframes=3:scenecut=0"}},
    "intra refresh.mp4": {"options": {"x264-params": "intra-refresh=1"}},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=0"}},
    "matroska.mkv": {},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "transport.ts": {},
    "flash.flv": {},
    "mpeg4.avi": {"codec": "mpeg4", "between": 2},
    "wrong times.avi": {"codec": "libx264"},
    "no times.h264": {"container": "h264"},
    "program.mpg": {"codec": "mpeg2video", "between": 2, "container": "mpeg"},
    "stills.mov": {"codec": "mjpeg", "pixels": "yuvj420p", "between": 0},
    "one key frame.gif": {"codec": "gif", "pixels": "rgb8"},
}


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("formats")

    def file(name: str) -> Path:
        path = folder / name
        return path if path.exists() else encode(path, numbered_frames(COUNT), **FORMATS[name])

    return file


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("cache_bytes", [0, 10**9], ids=["small cache", "large cache"])
def test_every_order_gives_the_frames_of_plain_decoding(
    painted: Callable[[str], Path], name: str, cache_bytes: int
) -> None:
    path = painted(name)
    expected = decoded(path)
    assert [number_in(frame) for frame in expected] == list(range(COUNT))
    with VideoFile(path, cache_bytes) as video:
        assert len(video) == COUNT
        assert video.size == (160, 120)
        assert video.notes == ()
        order = random.Random(3).choices(range(COUNT), k=40)
        for index in [*order, *range(COUNT), *reversed(range(COUNT))]:
            np.testing.assert_array_equal(video[index], expected[index], err_msg=f"frame {index}")


@pytest.mark.parametrize("name", ["closed groups.mp4", "matroska.mkv", "flash.flv", "transport.ts", "stills.mov"])
def test_the_rate_is_the_nominal_one(painted: Callable[[str], Path], name: str) -> None:
    assert VideoFile(painted(name)).fps == NTSC


def test_a_varying_rate_is_averaged(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "varying.mp4"), "w") as output:
        stream = output.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for index, array in enumerate(numbered_frames(20)):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame.pts, frame.time_base = index if index < 10 else 10 + 3 * (index - 10), Fraction(1, 30)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    video = VideoFile(tmp_path / "varying.mp4")
    assert [number_in(frame) for frame in video] == list(range(20))
    # 20 frames in 38 ticks of 1/30 s; the muxer guesses how long the last ones are shown.
    assert video.fps is not None
    assert 15 < video.fps < 18


def test_a_real_clip_in_every_order(shared: Path) -> None:
    path = shared / "data" / "clips" / "dog.mp4"
    expected = [hash(frame.tobytes()) for frame in decoded(path)]
    video = VideoFile(path, cache_bytes=64 * 1024 * 1024)
    assert (len(video), video.size, video.fps) == (289, (1280, 720), NTSC)
    for index in [200, 3, *range(288, 240, -1), 100, 101]:
        assert hash(video[index].tobytes()) == expected[index], f"frame {index}"


def test_walking_backwards_decodes_each_group_a_few_times_at_most(
    painted: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = 0

    def counting(container: object, stream: object) -> object:
        nonlocal given
        for frame in plain(container, stream):
            given += 1
            yield frame

    plain = video_file.decode
    monkeypatch.setattr(video_file, "decode", counting)
    video = VideoFile(painted("closed groups.mp4"), cache_bytes=10**9)
    given = 0
    assert [number_in(video[index]) for index in reversed(range(COUNT))] == list(reversed(range(COUNT)))
    assert given <= COUNT + 16  # the frame read at opening, and frames before a key frame that leak over it
    # With room for 8 frames a group of 12 is decoded twice: 12 and then 4 frames.
    video = VideoFile(painted("closed groups.mp4"), cache_bytes=0)
    given = 0
    assert [number_in(video[index]) for index in reversed(range(COUNT))] == list(reversed(range(COUNT)))
    assert given <= 2 * COUNT


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("hflip", [False, True])
def test_rotation_and_mirroring_in_the_file_are_undone(tmp_path: Path, degrees: int, hflip: bool) -> None:
    frame = numbered_frames(3)[2]
    path = encode(tmp_path / "turned.mp4", [frame] * 3, turn={"degrees": degrees, "hflip": hflip})
    stored = decoded(path)[1]
    upright = np.rot90(stored, degrees // 90)  # counter-clockwise, then mirrored
    expected = upright[:, ::-1] if hflip else upright
    video = VideoFile(path)
    assert video.size == (expected.shape[1], expected.shape[0])
    np.testing.assert_array_equal(video[1], expected)


@pytest.mark.parametrize("size", [(161, 121), (33, 18), (16, 17)])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    frames = numbered_frames(6, size)
    path = encode(tmp_path / "odd.mp4", frames, "libx264rgb", pixels="rgb24", options={"crf": "0"})
    video = VideoFile(path)
    assert video.size == size
    for index in (5, 0, 3):
        np.testing.assert_array_equal(video[index], frames[index])


def test_untagged_video_above_standard_definition_is_read_as_bt709(tmp_path: Path) -> None:
    colour = np.array([30, 160, 60], np.uint8)
    for size, matrix in (((1280, 720), "ITU709"), ((640, 480), "ITU601")):
        frame = np.full((size[1], size[0], 3), colour, np.uint8)
        path = tmp_path / f"{matrix}.mp4"
        with av.open(str(path), "w") as output:
            stream = output.add_stream("libx264", rate=24, options={"crf": "1"})
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            yuv = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(
                format="yuv420p", dst_colorspace=matrix, dst_color_range="MPEG"
            )
            yuv.colorspace = video_file.UNSPECIFIED
            output.mux(stream.encode(yuv))
            output.mux(stream.encode())
        with av.open(str(path)) as written:
            assert next(written.decode(video=0)).colorspace == video_file.UNSPECIFIED
        assert np.abs(VideoFile(path)[0].astype(int) - colour).max() <= 2


def test_frames_hidden_by_an_edit_list_do_not_count(tmp_path: Path, painted: Callable[[str], Path]) -> None:
    cut = tmp_path / "cut.mp4"
    with av.open(str(painted("closed groups.mp4"))) as source, av.open(str(cut), "w") as output:
        stream = source.streams.video[0]
        copy = output.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.size:
                packet.pts, packet.dts = packet.pts - 7 * 1001, packet.dts - 7 * 1001
                packet.stream = copy
                output.mux(packet)
    video = VideoFile(cut)
    assert video.notes == ()
    assert [number_in(video[index]) for index in reversed(range(len(video)))] == list(range(59, 6, -1))


@pytest.mark.parametrize(
    ("name", "muxer"),
    [("front.mp4", {"movflags": "faststart"}), ("cut.mkv", {}), ("cut.ts", {})],
)
@pytest.mark.parametrize("kept", [0.3, 0.77, 0.995])
def test_a_file_cut_short_ends_at_its_last_frame(tmp_path: Path, name: str, muxer: dict[str, str], kept: float) -> None:
    path = encode(tmp_path / name, numbered_frames(COUNT), muxer=muxer)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    whole = decoded_until_damage(path)
    video = VideoFile(path)
    assert abs(len(video) - len(whole)) <= 1
    assert int(COUNT * kept * 0.5) <= len(video) <= COUNT
    for index in [*reversed(range(len(video)))]:
        assert video[index].shape == (120, 160, 3)
    assert [number_in(frame) for frame in video][: len(video) - 4] == list(range(len(video) - 4))
    if name == "front.mp4":
        assert video.notes == (f"{path} ends early: {len(video)} of 60 frames can be decoded",)


def decoded_until_damage(path: Path) -> list[np.ndarray]:
    frames = []
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            try:
                frames += packet.decode()
            except av.error.FFmpegError:
                continue
    return frames


def test_a_file_cut_before_its_index_is_refused(tmp_path: Path) -> None:
    path = encode(tmp_path / "cut.mp4", numbered_frames(20))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(VideoError, match=r"cannot read .*cut\.mp4 as a video: it is damaged, cut short or not"):
        VideoFile(path)


def test_damage_inside_a_file_gives_frames_or_one_sentence(tmp_path: Path) -> None:
    path = encode(tmp_path / "hole.mp4", numbered_frames(COUNT), muxer={"movflags": "faststart"})
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    path.write_bytes(content)
    video = VideoFile(path)
    assert len(video) == COUNT
    read = 0
    for index in range(COUNT):
        try:
            assert video[index].shape == (120, 160, 3)
            read += 1
        except VideoError as error:
            assert str(error) == f"frame {index} of {path} cannot be decoded: the file is damaged there"
    assert read >= COUNT // 2


def test_a_file_without_pictures_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 44100
        output.mux(stream.encode(sound))
        output.mux(stream.encode())
    with pytest.raises(VideoError, match=r"sound\.mp4 has no video stream"):
        VideoFile(path)


def test_a_size_that_changes_within_the_file_is_an_error(tmp_path: Path) -> None:
    first = encode(tmp_path / "a.h264", numbered_frames(6, (160, 120)), container="h264")
    second = encode(tmp_path / "b.h264", numbered_frames(6, (96, 64)), container="h264")
    both = tmp_path / "both.h264"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    video = VideoFile(both)
    assert video[0].shape == (120, 160, 3)
    with pytest.raises(VideoError, match=r"frame \d+ of .*both\.h264 is 96x64, but the first frame is 160x120"):
        for _ in video:
            pass
