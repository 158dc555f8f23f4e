"""`etam-onnx track` from the user's side, with a predictor that follows a colour."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from painted_video import BLUE, NTSC, RED, ColourPredictor, disc_frames, discs, encode
from PIL import Image

from etam_onnx.cli import track
from etam_onnx.cli.main import main
from etam_onnx.cli.overlay import TINT, colour_of
from etam_onnx.cli.video_writer import VideoWriter
from etam_onnx.runtime.frames import open_video

COUNT = 20


@pytest.fixture
def predictor(monkeypatch: pytest.MonkeyPatch) -> ColourPredictor:
    colour = ColourPredictor()
    monkeypatch.setattr(track, "load_predictor", lambda options: colour)
    return colour


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return encode(tmp_path / "clip.mp4", disc_frames(COUNT), options={"crf": "8"})


def tinted(frame: np.ndarray, index: int, disc: str, number: int) -> bool:
    """Whether the middle of a disc shows the tint of object `number`."""
    colour = np.array(RED if disc == "red" else BLUE)
    middle = np.argwhere(discs(index)[disc]).mean(0).round().astype(int)
    expected = colour + (np.array(colour_of(number)) - colour) * TINT / 255
    return bool(np.abs(frame[middle[0], middle[1]] - expected).max() < 12)


def plain(frame: np.ndarray, index: int, disc: str) -> bool:
    """Whether the middle of a disc has its own colour."""
    middle = np.argwhere(discs(index)[disc]).mean(0).round().astype(int)
    return bool(np.abs(frame[middle[0], middle[1]].astype(int) - (RED if disc == "red" else BLUE)).max() < 12)


def labels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.mode == "P"
        return np.array(picture)


def agreement(found: np.ndarray, truth: np.ndarray) -> float:
    return float((found & truth).sum() / (found | truth).sum())


def test_two_objects_forward(
    predictor: ColourPredictor, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, masks = tmp_path / "out.mp4", tmp_path / "masks"
    words = ["track", str(clip), "--point", "30,40", "--box", "118,78,142,102", "-o", str(out)]
    assert main([*words, "--masks", str(masks)]) == 0
    printed = capsys.readouterr()
    assert printed.out.count("\n") == 1
    assert printed.out.startswith("tracked 2 objects through 20 frames, ")
    assert printed.out.endswith(f" frames/s: {out} and {masks}\n")
    video = open_video(out)
    assert (len(video), video.size, video.fps) == (COUNT, (160, 120), NTSC)
    assert sorted(p.name for p in masks.iterdir()) == [f"{i:05d}.png" for i in range(COUNT)]
    for index in range(1, COUNT):
        assert tinted(video[index], index, "red", 1)
        assert tinted(video[index], index, "blue", 2)
        found = labels(masks / f"{index:05d}.png")
        assert agreement(found == 1, discs(index)["red"]) > 0.95
        assert agreement(found == 2, discs(index)["blue"]) > 0.95
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.mp4", "masks", "out.mp4"]


def test_clicks_are_shown_on_the_prompted_frame_only(predictor: ColourPredictor, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    assert main(["track", str(clip), "--point", "1:40,40", "--not-point", "80,100", "-o", str(out)]) == 0
    video = open_video(out)
    red, green, blue = video[0][100, 80].astype(int)
    assert red > 1.5 * max(green, blue)
    assert np.abs(video[1][100, 80].astype(int) - 128).max() < 12


@pytest.mark.parametrize("source", ["palette", "white"])
def test_masks_as_prompts(predictor: ColourPredictor, clip: Path, tmp_path: Path, source: str) -> None:
    first = discs(0)
    values = first["red"] * 3 + first["blue"] * 7 if source == "palette" else first["blue"] * 255
    picture = Image.fromarray(values.astype(np.uint8))
    picture.save(tmp_path / "prompt.png")
    masks = tmp_path / "masks"
    assert main(["track", str(clip), "--mask", str(tmp_path / "prompt.png"), "--masks", str(masks)]) == 0
    found = labels(masks / "00019.png")
    expected = {3: "red", 7: "blue"} if source == "palette" else {1: "blue"}
    assert set(np.unique(found)) == {0, *expected}
    for number, disc in expected.items():
        assert agreement(found == number, discs(19)[disc]) > 0.95


def test_a_start_in_the_middle(predictor: ColourPredictor, clip: Path, tmp_path: Path) -> None:
    out, masks = tmp_path / "out.mp4", tmp_path / "masks"
    words = ["track", str(clip), "--point", "60,40", "--start", "10", "-o", str(out), "--masks", str(masks)]
    assert main(words) == 0
    assert predictor.prompted_on == [10]
    video = open_video(out)
    assert len(video) == COUNT
    assert all(plain(video[i], i, "red") for i in range(10))
    assert all(tinted(video[i], i, "red", 1) for i in range(11, COUNT))
    assert sorted(p.name for p in masks.iterdir()) == [f"{i:05d}.png" for i in range(10, COUNT)]


def test_backwards_keeps_the_order_of_the_frames(predictor: ColourPredictor, clip: Path, tmp_path: Path) -> None:
    out, masks = tmp_path / "out.mp4", tmp_path / "masks"
    words = ["track", str(clip), "--point", "60,40", "--point", "110,90", "--start", "10", "--reverse"]
    assert main([*words, "-o", str(out), "--masks", str(masks)]) == 0
    video = open_video(out)
    assert len(video) == COUNT
    assert all(tinted(video[i], i, "red", 1) and tinted(video[i], i, "blue", 2) for i in range(10))
    assert all(plain(video[i], i, "red") for i in range(11, COUNT))
    assert sorted(p.name for p in masks.iterdir()) == [f"{i:05d}.png" for i in range(11)]
    for index in range(11):
        found = labels(masks / f"{index:05d}.png")
        assert agreement(found == 1, discs(index)["red"]) > 0.95
        assert agreement(found == 2, discs(index)["blue"]) > 0.95


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--max-frames", "5"], range(5)),
        (["--start", "10", "--max-frames", "4"], range(10, 14)),
        (["--start", "18", "--max-frames", "50"], range(18, 20)),
        (["--start", "10", "--reverse", "--max-frames", "4"], range(7, 11)),
        (["--start", "2", "--reverse", "--max-frames", "50"], range(3)),
        (["--start", "19"], range(19, 20)),
    ],
)
def test_part_of_a_video(
    predictor: ColourPredictor, clip: Path, tmp_path: Path, words: list[str], expected: range
) -> None:
    out, masks = tmp_path / "out.mp4", tmp_path / "masks"
    start = int(words[1]) if words[0] == "--start" else 0
    point = ["--point", f"{30 + 3 * start},40"]
    assert main(["track", str(clip), *point, *words, "-o", str(out), "--masks", str(masks)]) == 0
    assert [p.name for p in sorted(masks.iterdir())] == [f"{i:05d}.png" for i in expected]
    video = open_video(out)
    assert len(video) == (len(expected) if "--max-frames" in words else COUNT)
    if "--max-frames" in words:
        for position, index in enumerate(expected):
            if index != start:
                assert tinted(video[position], index, "red", 1)


def test_a_folder_of_frames(predictor: ColourPredictor, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for index, frame in enumerate(disc_frames(12)):
        Image.fromarray(frame[:119, :159]).save(folder / f"{index}.png")
    for words, rate in (([], 24), (["--fps", "30000/1001"], NTSC)):
        out = tmp_path / "out.mp4"
        assert main(["track", str(folder), "--point", "30,40", "-o", str(out), *words]) == 0
        video = open_video(out)
        assert (len(video), video.fps, video.size) == (12, rate, (160, 120))
        assert tinted(video[11], 11, "red", 1)


def test_an_object_that_leaves_is_noted_as_lost(predictor: ColourPredictor, tmp_path: Path) -> None:
    frames = disc_frames(6)
    frames[3:] = [np.full_like(frames[0], 128)] * 3
    out, masks = tmp_path / "out.mp4", tmp_path / "masks"
    clip = encode(tmp_path / "clip.mp4", frames, options={"crf": "8"})
    assert main(["track", str(clip), "--point", "30,40", "-o", str(out), "--masks", str(masks)]) == 0
    video = open_video(out)
    assert np.abs(video[2][:16, :20].astype(int) - 128).max() < 16
    assert np.abs(video[4][:16, :20].astype(int) - 128).max() > 60
    assert not labels(masks / "00004.png").any()


def test_a_file_cut_short_is_tracked_to_its_end_with_a_note(
    predictor: ColourPredictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = encode(tmp_path / "cut.mp4", disc_frames(COUNT), muxer={"movflags": "faststart"})
    cut.write_bytes(cut.read_bytes()[: int(cut.stat().st_size * 0.8)])
    readable = len(open_video(cut))
    assert 8 <= readable < COUNT
    out = tmp_path / "out.mp4"
    assert main(["track", str(cut), "--point", "30,40", "-o", str(out)]) == 0
    assert len(open_video(out)) == readable
    note = f"note: {cut} ends early: {readable} of 20 frames can be decoded\n"
    assert note in capsys.readouterr().err


def test_the_demo_is_scored(predictor: ColourPredictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo.mp4"
    assert main(["track", "--demo", "--max-frames", "6", "-o", str(out)]) == 0
    line = capsys.readouterr().out
    assert line.startswith("tracked 1 object through 6 frames, ")
    score = float(line.split("mean IoU ")[1].split()[0])
    # Following one colour finds part of the mottled shell and little else.
    assert 0.05 < score < 0.9
    assert (len(open_video(out)), open_video(out).size) == (6, (854, 480))


WRONG = {
    "no video": ("-o OUT --point 5,5", "name a video to track, or try --demo"),
    "absent video": ("absent.mp4 -o OUT --point 5,5", "there is no file or folder absent.mp4"),
    "not a video": (
        "note.txt -o OUT --point 5,5",
        "cannot read note.txt as a video: it is damaged, cut short",
    ),
    "no prompt": (
        "clip.mp4 -o OUT",
        "nothing to look for: give at least one --point X,Y or --box X0,Y0,X1,Y1",
    ),
    "no output": ("clip.mp4 --point 5,5", "nothing to write: give -o OUT.mp4, --masks DIR or both"),
    "point outside": (
        "clip.mp4 -o OUT --point 160,5",
        "--point 160,5 is outside the frame of 160x120 pixels",
    ),
    "point of words": ("clip.mp4 -o OUT --point a,b", "--point takes X,Y in pixels, found 'a,b'"),
    "absent folder": ("clip.mp4 -o absent/out.mp4 --point 5,5", "there is no folder absent to write out.mp4"),
    "absent mask folder": ("clip.mp4 --masks a/b --point 5,5", "there is no folder a to write b into"),
    "other ending": ("clip.mp4 -o out.webm --point 5,5", "out.webm should end in .mp4, .m4v, .mov"),
    "itself": ("clip.mp4 -o clip.mp4 --point 5,5", "clip.mp4 is the video itself; write to another file"),
    "late start": (
        "clip.mp4 -o OUT --point 5,5 --start 20",
        "--start 20 is outside the video, whose frames are",
    ),
    "backwards from 0": ("clip.mp4 -o OUT --point 5,5 --reverse", "--reverse tracks back from --start, and"),
    "no frames": ("clip.mp4 -o OUT --point 5,5 --max-frames 0", "--max-frames must be at least 1, found 0"),
    "negative holes": ("clip.mp4 -o OUT --point 5,5 --fill-holes=-1", "--fill-holes must not be negative"),
    "no rate": (
        "clip.mp4 -o OUT --point 5,5 --fps fast",
        "--fps takes a rate above 0, such as 24 or 30000/1001",
    ),
    "zero rate": (
        "clip.mp4 -o OUT --point 5,5 --fps 0",
        "--fps takes a rate above 0, such as 24 or 30000/1001",
    ),
    "large number": ("clip.mp4 --masks M --point 300:5,5", "object id 300 does not fit a palette PNG"),
    "demo and video": ("clip.mp4 --demo -o OUT", "--demo brings its own video and box; leave out VIDEO"),
    "demo and point": ("--demo --point 5,5 -o OUT", "--demo brings its own video and box; leave out VIDEO"),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors_are_one_sentence_and_nothing_is_written(
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    case: str,
) -> None:
    def must_not_load(options: object) -> None:
        raise AssertionError("the model was loaded before the request was checked")

    monkeypatch.setattr(track, "load_predictor", must_not_load)
    monkeypatch.chdir(tmp_path)
    Path("note.txt").write_text("not a video")
    words, sentence = WRONG[case]
    assert main(["track", *words.replace("OUT", "out.mp4").split()]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"error: {sentence}")
    assert printed.err.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.mp4", "note.txt"]


def test_an_unknown_model_is_one_sentence(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.mp4"
    assert main(["track", str(clip), "--point", "5,5", "--model", "no-such-bundle", "-o", str(out)]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("error: there is no bundle 'no-such-bundle'")
    assert printed.err.count("\n") == 1
    assert not out.exists()


def test_an_error_while_tracking_leaves_nothing(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Failing(ColourPredictor):
        def propagate_in_video(self, *args: object, **options: object):
            for count, answer in enumerate(super().propagate_in_video(*args, **options)):
                if count == 7:
                    raise RuntimeError("the device is gone")
                yield answer

    monkeypatch.setattr(track, "load_predictor", lambda options: Failing())
    out, masks = tmp_path / "out.mp4", tmp_path / "masks"
    out.write_bytes(b"earlier")
    assert main(["track", str(clip), "--point", "30,40", "-o", str(out), "--masks", str(masks)]) == 1
    assert capsys.readouterr().err == "error: the device is gone\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.mp4", "out.mp4"]
    assert out.read_bytes() == b"earlier"


def test_an_error_while_writing_is_one_sentence_and_leaves_nothing(
    predictor: ColourPredictor,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write, written = VideoWriter.write, []

    def full(self: VideoWriter, frame: np.ndarray) -> None:
        if len(written) == 5:
            raise OSError(28, "No space left on device", "out.mp4")
        written.append(frame)
        write(self, frame)

    monkeypatch.setattr(VideoWriter, "write", full)
    out, masks = tmp_path / "out.mp4", tmp_path / "masks"
    assert main(["track", str(clip), "--point", "30,40", "-o", str(out), "--masks", str(masks)]) == 1
    assert capsys.readouterr().err == "error: out.mp4: No space left on device\n"
    assert len(written) == 5
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.mp4"]


SLOWLY = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in a shell's background is born ignoring it
sys.path.insert(0, {tests!r})
from painted_video import ColourPredictor
from etam_onnx.cli import track
from etam_onnx.cli.main import main

class Slow(ColourPredictor):
    def propagate_in_video(self, *args, **options):
        for answer in super().propagate_in_video(*args, **options):
            time.sleep(0.05)
            yield answer

track.load_predictor = lambda options: Slow()
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("reverse", [False, True])
def test_stopping_in_the_middle_leaves_nothing(
    tmp_path: Path, number: signal.Signals, code: int, reverse: bool
) -> None:
    clip = encode(tmp_path / "clip.mp4", disc_frames(200))
    words = ["track", "clip.mp4", "--point", "30,40", "-o", "out.mp4", "--masks", "masks"]
    if reverse:
        words += ["--start", "199", "--reverse"]
        words[3] = f"{(30 + 3 * 199) % 160},40"
    process = subprocess.Popen(
        [sys.executable, "-c", SLOWLY.format(tests=str(Path(__file__).parent)), *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 30
    while len(list(tmp_path.glob(".*.part"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == code, err
    assert out == ""
    assert "Traceback" not in err
    assert [p.name for p in tmp_path.iterdir()] == [clip.name]
