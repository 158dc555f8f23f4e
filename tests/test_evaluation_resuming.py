"""Runs over many videos: several processes, going on where a run stopped, and refusing to mix two runs."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import little_files, write_bundle
from written_videos import SIZE_HW, save, write_video

from etam_onnx.cli.evaluate_records import RunFolder
from etam_onnx.cli.evaluate_workers import run_all
from etam_onnx.cli.main import main
from etam_onnx.runtime.label_maps import read_label_map

NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of tiny graphs."""
    return write_bundle(tmp_path_factory.mktemp("bundle"), little_files())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three videos of different lengths."""
    for length, name in enumerate(NAMES, 4):
        write_video(tmp_path / "data" / name / "images", tmp_path / "data" / name / "masks", {1: 0, 2: 0}, length)
    return tmp_path / "data"


def vos(bundle: Path, data: Path, *words: str | Path) -> int:
    return main(["evaluate", "vos", str(bundle), "--data", str(data), *map(str, words)])


def test_several_processes_give_what_one_gives(bundle: Path, data: Path, tmp_path: Path) -> None:
    assert vos(bundle, data, "--output", tmp_path / "one", "--predictions", tmp_path / "masks1") == 0
    assert vos(bundle, data, "--output", tmp_path / "two", "--predictions", tmp_path / "masks2", "--workers", 2) == 0
    for name in ("scores.json", "table.txt", "run.json", *(f"finished/{name}.json" for name in NAMES)):
        assert (tmp_path / "one" / name).read_text() == (tmp_path / "two" / name).read_text()
    written = sorted((tmp_path / "masks1").rglob("*.png"))
    assert len(written) == 4 + 5 + 6
    for path in written:
        again = tmp_path / "masks2" / path.relative_to(tmp_path / "masks1")
        assert np.array_equal(read_label_map(path), read_label_map(again))
    pictures = {path.name for path in (tmp_path / "two" / "pictures").iterdir()}
    assert pictures == {"a.png", "b.png", "c.png", "_j_over_time.png", "_worst_frames.png"}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_stopped_goes_on(bundle: Path, data: Path, tmp_path: Path, workers: int, capsys) -> None:
    broken = data / "c" / "images" / "00003.png"
    content = broken.read_bytes()
    broken.write_bytes(content[:60])
    output = tmp_path / "run"
    assert vos(bundle, data, "--output", output, "--workers", workers) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: sequence c: cannot read") and "00003.png" in error
    finished = {path.name: path.stat().st_mtime_ns for path in (output / "finished").iterdir()}
    assert set(finished) <= {"a.json", "b.json"} and (workers == 2 or len(finished) == 2)
    assert not (output / "scores.json").exists()
    broken.write_bytes(content)
    assert vos(bundle, data, "--output", output, "--workers", workers) == 0
    assert list(json.loads((output / "scores.json").read_text())["sequences"]) == list(NAMES)
    for name, time in finished.items():
        assert (output / "finished" / name).stat().st_mtime_ns == time


def test_finished_videos_are_done_again_only_for_their_predictions(bundle: Path, data: Path, tmp_path: Path) -> None:
    output, masks = tmp_path / "run", tmp_path / "masks"
    assert vos(bundle, data, "--output", output, "--sequences", "a", "b") == 0
    times = {name: (output / "finished" / f"{name}.json").stat().st_mtime_ns for name in "ab"}
    assert vos(bundle, data, "--output", output) == 0
    assert all((output / "finished" / f"{name}.json").stat().st_mtime_ns == time for name, time in times.items())
    assert vos(bundle, data, "--output", output, "--predictions", masks) == 0
    assert sorted(folder.name for folder in masks.iterdir()) == list(NAMES)


def test_a_video_that_has_changed_is_done_again(bundle: Path, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    assert vos(bundle, data, "--output", output) == 0
    times = {name: (output / "finished" / f"{name}.json").stat().st_mtime_ns for name in NAMES}
    before = json.loads((output / "scores.json").read_text())["sequences"]
    save(data / "b" / "masks" / "00002.png", np.ones(SIZE_HW, np.uint8))
    assert vos(bundle, data, "--output", output) == 0
    after = json.loads((output / "scores.json").read_text())["sequences"]
    assert [name for name in NAMES if before[name] != after[name]] == ["b"]
    assert all((output / "finished" / f"{name}.json").stat().st_mtime_ns == times[name] for name in "ac")


def test_masks_of_another_run_are_not_taken_for_those_of_this_one(bundle: Path, data: Path, tmp_path: Path) -> None:
    output, masks = tmp_path / "run", tmp_path / "masks"
    assert vos(bundle, data, "--output", output, "--predictions", masks) == 0
    expected = {path.relative_to(masks): path.read_bytes() for path in sorted(masks.rglob("*.png"))}
    (masks / "b" / "00001.png").write_bytes((masks / "b" / "00003.png").read_bytes())
    (masks / "c" / "00002.png").unlink()
    time = (output / "finished" / "a.json").stat().st_mtime_ns
    assert vos(bundle, data, "--output", output, "--predictions", masks) == 0
    assert {path.relative_to(masks): path.read_bytes() for path in sorted(masks.rglob("*.png"))} == expected
    assert (output / "finished" / "a.json").stat().st_mtime_ns == time


def test_predictions_never_replace_what_is_not_theirs(bundle: Path, data: Path, tmp_path: Path, capsys) -> None:
    everything = sorted(tmp_path.rglob("*"))
    assert vos(bundle, data, "--predictions", data) == 1
    assert "is part of the data set; name another folder for the predictions" in error(capsys)
    (tmp_path / "mine" / "c").mkdir(parents=True)
    (tmp_path / "mine" / "c" / "notes.txt").write_text("kept")
    assert vos(bundle, data, "--predictions", tmp_path / "mine") == 1
    assert "notes.txt is no predicted mask and would be lost; name another folder" in error(capsys)
    assert (tmp_path / "mine" / "c" / "notes.txt").read_text() == "kept"
    assert [path for path in sorted(tmp_path.rglob("*")) if "mine" not in path.parts] == everything


def test_two_runs_are_not_mixed(bundle: Path, data: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "run"
    assert vos(bundle, data, "--output", output) == 0
    assert vos(bundle, data, "--output", output, "--prompt", "box") == 1
    assert "holds results of another run: its prompt is mask, now it is box; name another folder" in error(capsys)
    other = write_bundle(tmp_path / "other", {**little_files(), "portable/extra.onnx": b""})
    assert vos(other, data, "--output", output) == 1
    assert "its manifest_sha256 is " in error(capsys)
    (output / "finished" / "b.json").write_text("[1")
    assert vos(bundle, data, "--output", output) == 1
    assert "b.json is damaged; delete it to have it made again" in error(capsys)
    assert main(["evaluate", "interactive", str(bundle), "--data", str(data), "--output", str(output)]) == 1
    assert "holds results of another run" in error(capsys)
    assert vos(bundle, data, "--output", data) == 1
    assert "holds files but no run.json, so it is not an evaluation" in error(capsys)
    assert vos(bundle, data, "--output", data / "a" / "images" / "00000.png") == 1
    assert "00000.png is a file; name a folder to write into" in error(capsys)


def test_a_record_is_kept_whole(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", {"protocol": "vos", "modes": ("a", "b")})
    assert folder.read("clip") is None
    folder.write("clip", {"J": 0.1})
    assert RunFolder(tmp_path / "run", {"protocol": "vos", "modes": ("a", "b")}).read("clip") == {"J": 0.1}
    with pytest.raises(TypeError):
        folder.write("clip", {"J": object()})
    assert folder.read("clip") == {"J": 0.1}
    assert [path.name for path in (tmp_path / "run" / "finished").iterdir()] == ["clip.json"]


@dataclass(frozen=True)
class Dying:
    """A task whose processes are killed, as for want of memory."""

    def open(self):
        os._exit(9)


def test_a_worker_that_dies_is_an_error_and_not_a_hang() -> None:
    with pytest.raises(RuntimeError, match="a worker process died, perhaps for want of memory; try fewer --workers"):
        run_all(Dying(), {"a": 1, "b": 2}, workers=2)


def error(capsys: pytest.CaptureFixture[str]) -> str:
    """The last line of standard error."""
    return capsys.readouterr().err.splitlines()[-1]
