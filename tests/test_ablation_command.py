"""The `ablate` subcommand: tables, pictures, and errors of one sentence."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from etam_onnx.cli.ablate import AXES, register


def ablate(*words: str) -> int:
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())
    arguments = parser.parse_args(["ablate", *words])
    return int(arguments.run(arguments))


@pytest.fixture(scope="module")
def short(eval_video_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first four frames of one real sequence."""
    root = tmp_path_factory.mktemp("short")
    for folder, suffix in (("images", "jpg"), ("masks", "png")):
        (root / "dog" / folder).mkdir(parents=True)
        for number in range(4):
            name = f"{number:05d}.{suffix}"
            shutil.copy(eval_video_dir / "dog" / folder / name, root / "dog" / folder / name)
    return root


def test_given_weights_under_variants(short: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    report, kept = tmp_path / "table.json", tmp_path / "study"
    words = ["--evaluate", "--data", str(short), "--variants", "base,linear", "--repeats", "1"]
    assert ablate(*words, "--output", str(kept), "--json", str(report)) == 0
    table = capsys.readouterr().out
    assert [line.split("  ")[0] for line in table.splitlines()[2:4]] == ["base", "linear"]
    found = json.loads(report.read_text())
    base, linear = found["variants"]
    assert found["settings"]["mode"] == "evaluate"
    assert base["scores"]["dog"]["1"]["J"] > 50 and base["cost"]["milliseconds"] > 0
    assert linear["mean"]["J"] != base["mean"]["J"]
    assert f"{base['mean']['J&F']:.1f}" in table
    assert sorted(path.name for path in kept.iterdir()) == ["base.json", "linear.json"]
    # A second run reads what the first has found.
    assert ablate(*words, "--output", str(kept), "--json", str(report)) == 0
    assert json.loads(report.read_text()) == found


def test_costs_need_no_weights(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    words = ["--costs", "--model", "efficienttam_ti_1", "--axes", "tokens", "--repeats", "0"]
    assert ablate(*words) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[2].startswith("base = equation-5") and rows[3].startswith("pool-all")
    assert "J&F" not in rows[0] and "ms" not in rows[0].split()


def test_errors_of_attention_as_picture_and_numbers(
    short: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    picture, report = tmp_path / "error.png", tmp_path / "error.json"
    words = ["attention-error", "--data", str(short), "--frames", "3", "--no-weights"]
    assert ablate(*words, "-o", str(picture), "--json", str(report)) == 0
    with Image.open(picture) as drawn:
        assert drawn.size[0] == 1194
    found = json.loads(report.read_text())
    assert found["sequences"] == ["dog"] and {row["frame"] for row in found["rows"]} == {2}
    means = {name: entry["output"]["all"] for name, entry in found["means"].items()}
    assert means["equation-5"] < means["window-4"] < means["linear"]
    assert f"{100 * means['linear']:.1f}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "say what to do: --evaluate, --train-steps N or --costs"),
        (["--evaluate"], "--evaluate needs sequences to track"),
        (["--evaluate", "--model", "efficienttam_s"], "name the weights of efficienttam_s: --checkpoint FILE"),
        (["--evaluate", "--checkpoint", "nowhere.pt"], "there is no checkpoint at nowhere.pt"),
        (["--costs", "--model", "resnet"], "unknown model 'resnet'"),
        (["--costs", "--axes", "colour"], "there is no axis 'colour'; there are: pointers, tokens"),
        (["--costs", "--variants", "cubic"], "there is no variant 'cubic'"),
        (["--costs", "--train-data", "x"], "--train-data and --new-weights belong to --train-steps N"),
        (["--costs", "--threads", "0"], "--threads must be at least 1, not 0"),
        (["--costs", "--json", "no/where.json"], "there is no folder no to write where.json into"),
        (["--train-steps", "5"], "training needs --train-data DIR and a folder for the weights"),
        (["--train-steps", "0"], "--train-steps should be at least 1, found 0"),
        (["attention-error"], "attention-error needs sequences to track"),
        (["attention-error", "--data", "x", "--frames", "2"], "--frames 2 is too few"),
    ],
)
def test_errors_are_sentences(words: list[str], sentence: str) -> None:
    pytest.importorskip("torch")
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        ablate(*words)
    assert sentence in str(caught.value)


def test_a_device_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pytest.importorskip("torch").cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="--device cuda: PyTorch finds no CUDA device here"):
        ablate("--costs", "--device", "cuda")


def test_the_axes_are_those_of_the_package() -> None:
    pytest.importorskip("torch")
    from etam_onnx.ablation.variants import AXES as known

    assert tuple(known) == AXES


def test_registering_loads_nothing_heavy(repository: Path) -> None:
    code = (
        "import sys, argparse; from etam_onnx.cli.ablate import register;"
        "register(argparse.ArgumentParser().add_subparsers());"
        "print([name for name in ('numpy', 'PIL', 'cv2', 'torch', 'onnxruntime') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        ablate("--help")
    assert stopped.value.code == 0
    assert "etam-onnx ablate attention-error " in capsys.readouterr().out.split("examples:")[1]
