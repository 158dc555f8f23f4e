"""`etam-onnx export --coreml`: what is asked for, and what is missing, in one sentence."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

from small_model import small_model

from etam_onnx import Bundle
from etam_onnx.cli import export as command
from etam_onnx.cli.main import main
from etam_onnx.conversion.bundle_writer import export_bundle
from etam_onnx.conversion.coreml.compression import WEIGHTS
from etam_onnx.conversion.coreml.packages import FRAMES

REQUIRED = ("export", "--model", "etam-nano", "--checkpoint", "missing.pt", "-o")


def without_coremltools(monkeypatch: pytest.MonkeyPatch, found: Any = None) -> None:
    """Importing coremltools fails, or gives something else."""
    real = importlib.import_module

    def module(name: str, package: str | None = None) -> Any:
        if name != "coremltools":
            return real(name, package)
        if found is None:
            raise ModuleNotFoundError("No module named 'coremltools'", name="coremltools")
        return found

    monkeypatch.setattr(importlib, "import_module", module)


def test_without_coremltools_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_coremltools(monkeypatch)
    with pytest.raises(ImportError, match=r"Core ML packages need coremltools: pip install 'etam-onnx\[coreml\]'"):
        export_bundle(small_model(), tmp_path / "new", variants=("coreml-ios18",))
    assert list(tmp_path.iterdir()) == []


def test_a_coremltools_that_is_too_old(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = SimpleNamespace(target=SimpleNamespace(iOS17=1), __version__="7.2")
    without_coremltools(monkeypatch, old)
    with pytest.raises(
        ImportError, match=r"packages for iOS18 need a later coremltools than 7\.2: pip install --upgrade"
    ):
        export_bundle(small_model(), tmp_path / "new", variants=("coreml-ios17", "coreml-ios18"))


@pytest.mark.parametrize("option", [("--coreml-weights", "int8"), ("--coreml-frame", "numbers")])
def test_options_of_packages_need_packages(
    option: tuple[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main([*REQUIRED, str(tmp_path / "b"), *option]) == 1
    assert capsys.readouterr().err == "error: --coreml-weights and --coreml-frame need --coreml\n"


@pytest.mark.parametrize("options", [("--coreml", "iOS12"), ("--coreml", "--coreml-weights", "int3")])
def test_what_there_is_not(options: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*REQUIRED, str(tmp_path / "b"), *options])
    assert caught.value.code == 2
    assert "invalid choice" in capsys.readouterr().err


def test_choices_are_those_of_the_conversion() -> None:
    assert (command.SYSTEMS, command.WEIGHTS, command.FRAMES) == (("iOS17", "iOS18"), WEIGHTS, FRAMES)


@pytest.mark.slow
def test_the_shipped_model_as_packages(repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both systems, all kinds of weights; measured errors: 3.0e-3, 7.1e-3, 3.0e-2."""
    pytest.importorskip("coremltools", reason="coremltools is not installed")
    weights = repository / "etam_onnx/weights"
    arguments = ["--model", "etam-nano", "--checkpoint", str(weights / "etam-nano.pt"), "-o", str(tmp_path / "b")]
    card = ["--card", str(weights / "etam-nano.card.json"), "--no-vectors"]
    assert main(["export", *arguments, *card, "--coreml", "--coreml-weights", *WEIGHTS]) == 0
    assert "coreml-ios18-palette6" in capsys.readouterr().out
    manifest = Bundle.open(tmp_path / "b").manifest
    limits = {"fp16": 1e-2, "int8": 2e-2, "palette6": 6e-2}
    for variant in (name for name in manifest.variants if name.startswith("coreml")):
        Bundle.open(tmp_path / "b").graph_paths(variant)
        kind = next((weight for weight in WEIGHTS if variant.endswith(weight)), "fp16")
        assert max(entry["error"] for entry in manifest.parity[variant]) < limits[kind], variant
    sizes = json.dumps({name: file.size for name, file in manifest.files.items() if name.endswith("weight.bin")})
    assert "coreml/ios18/memory_attention.mlpackage" in sizes and "coreml/ios17/memory_attention_14.mlpackage" in sizes
