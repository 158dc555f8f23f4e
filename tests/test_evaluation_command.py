"""The `evaluate` subcommand: scores, reports, and errors of one sentence."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from etam_onnx.cli.evaluate import register
from etam_onnx.evaluation.label_maps import read_label_map

BUNDLE = "etam-nano"


def evaluate(*words: str) -> int:
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())
    arguments = parser.parse_args(["evaluate", *words])
    return int(arguments.run(arguments))


@pytest.fixture
def shifted(eval_video_dir: Path, tmp_path: Path) -> Path:
    """Predictions for two sequences: every mask moved by three rows and five columns."""
    for name in ("car-shadow", "chair"):
        for path in sorted((eval_video_dir / name / "masks").glob("*.png")):
            (tmp_path / name).mkdir(exist_ok=True)
            moved = np.roll(read_label_map(path), (3, -5), (0, 1))
            Image.fromarray(moved).save(tmp_path / name / path.name)
    return tmp_path


def test_masks_are_scored_as_the_reference_does(
    shifted: Path, eval_video_dir: Path, reference_dir: Path, tmp_path: Path, capsys
) -> None:
    reference = json.loads((reference_dir / "jf_reference.json").read_text())["sequences"]
    names = ["--sequences", "car-shadow", "chair"]
    report = tmp_path / "scores.json"
    for kind, option in (("skip_ends", []), ("all_frames", ["--all-frames"])):
        assert evaluate("masks", str(eval_video_dir), str(shifted), "--json", str(report), *names, *option) == 0
        scores = json.loads(report.read_text())
        assert list(scores["sequences"]) == ["car-shadow", "chair"]
        expected = [reference[name][f"shift/{kind}"] for name in ("car-shadow", "chair")]
        for found, wanted in zip(scores["sequences"].values(), expected, strict=True):
            assert found["1"]["J"] == pytest.approx(wanted["J"]["1"], abs=2e-13)
            assert found["1"]["F"] == pytest.approx(wanted["F"]["1"], abs=2e-13)
        mean_j = sum(wanted["J"]["1"] for wanted in expected) / 2
        assert scores["mean"]["J"] == pytest.approx(mean_j, abs=2e-13)
        assert scores["all_frames"] == (kind == "all_frames")
    table = capsys.readouterr().out
    assert "car-shadow  1        90.3  100.0" in table


def test_a_bundle_is_tracked_and_scored_beside_the_baselines(eval_video_dir: Path, tmp_path: Path, capsys) -> None:
    for folder, suffix in (("images", "jpg"), ("masks", "png")):
        (tmp_path / "data" / "dog" / folder).mkdir(parents=True)
        for number in range(5):
            name = f"{number:05d}.{suffix}"
            shutil.copy(eval_video_dir / "dog" / folder / name, tmp_path / "data" / "dog" / folder / name)
    report, data, masks = tmp_path / "scores.json", str(tmp_path / "data"), str(tmp_path / "masks")
    assert evaluate("vos", BUNDLE, "--data", data, "--predictions", masks, "--json", str(report), "--baselines") == 0
    tracked = json.loads(report.read_text())
    assert capsys.readouterr().out.splitlines()[0].split("  ")[-6:] == [
        "model J",
        "model F",
        "copy J",
        "copy F",
        "flow J",
        "flow F",
    ]
    assert list(tracked["baselines"]) == ["copy", "flow"]
    assert 0 < tracked["baselines"]["copy"]["mean"]["J"] < tracked["baselines"]["flow"]["mean"]["J"] < 100
    assert evaluate("masks", data, masks, "--json", str(report)) == 0
    assert json.loads(report.read_text())["sequences"] == tracked["sequences"]


def test_errors_name_what_is_wrong_and_write_nothing(shifted: Path, eval_video_dir: Path, tmp_path: Path) -> None:
    report = tmp_path / "scores.json"
    (shifted / "chair" / "00059.png").unlink()
    with pytest.raises(FileNotFoundError, match="sequence chair: there is no prediction for frame 00059"):
        evaluate("masks", str(eval_video_dir), str(shifted), "--sequences", "chair", "--json", str(report))
    with pytest.raises(FileNotFoundError, match="sequence blackswan is not in"):
        evaluate("masks", str(eval_video_dir), str(shifted), "--json", str(report))
    with pytest.raises(FileNotFoundError, match="sequence horse is not in"):
        evaluate("masks", str(eval_video_dir), str(shifted), "--sequences", "horse", "--json", str(report))
    assert not report.exists()
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere to write scores"):
        evaluate("masks", str(eval_video_dir), str(shifted), "--json", str(tmp_path / "nowhere" / "scores.json"))


def test_registering_loads_nothing_heavy(repository: Path) -> None:
    code = (
        "import sys, argparse; from etam_onnx.cli.evaluate import register;"
        "register(argparse.ArgumentParser().add_subparsers());"
        "print([name for name in ('numpy', 'PIL', 'cv2', 'torch', 'onnxruntime') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", ["masks", "vos"])
def test_help_shows_an_example(kind: str, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        evaluate(kind, "--help")
    assert stopped.value.code == 0
    assert f"etam-onnx evaluate {kind} " in capsys.readouterr().out.split("example:")[1]
