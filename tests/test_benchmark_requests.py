"""`etam-onnx bench` asked for what it cannot do: one sentence, and nothing is left behind."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("torch")
pytest.importorskip("onnx")

from etam_onnx import Bundle
from etam_onnx.cli.main import main


def failure(options: list[str]) -> str:
    """The one sentence with which a request fails."""
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.print", lambda *words, **_: lines.append(" ".join(map(str, words))))
        assert main(["bench", *options]) == 1
    (line,) = lines
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["no-such-bundle"], "there is no bundle 'no-such-bundle'"),
        (["--variant", "coreml"], "has no variant 'coreml', it has ["),
        (["--variant", "ort", "coreml"], "has no variant 'coreml', it has ["),
        (["--floor", "--device", "cuda"], "--floor is about the CPU; leave it out with --device cuda"),
        (["--objects", "0"], "--objects takes numbers of at least 1, found 0"),
        (["--frames", "0"], "--frames should be at least 1, found 0"),
        (["--frames", "7"], "--frames should be at least 8: the first 7 have fewer memories"),
        (["--frames", "109"], "has 108 frames, and --frames asks for 109"),
        (["--rounds", "-1"], "--rounds should be at least 1, found -1"),
        (["--threads", "0"], "--threads should be at least 1, found 0"),
        (["--turn", "0"], "--turn should be at least 1, found 0"),
        (["--fill-holes", "-1"], "--fill-holes must not be negative, found -1"),
        (["--size", "853x480"], "--size takes even numbers of at least 64 as in 1920x1080, found '853x480'"),
        (["--size", "large"], "--size takes even numbers"),
        (["--size", "854x480", "--video", "x.mp4"], "a --video keeps its own size"),
        (["--video", "no-such-file.mp4"], "there is no file or folder no-such-file.mp4"),
        (["--json", "no-such-folder/out.json"], "there is no folder no-such-folder to write out.json into"),
        (["--json", "."], ". is a folder; name a file to write"),
        (["--checkpoint", "x.pt"], "--checkpoint is about PyTorch and needs --against torch"),
        (["--mkl-fast"], "--mkl-fast is about PyTorch and needs --against torch"),
        (["--compiled"], "--compiled is about PyTorch and needs --against torch"),
        (["--against", "torch", "--checkpoint", "no.pt"], "there is no checkpoint at no.pt"),
        (["--against", "torch", "--mkl-fast", "--device", "cuda"], "--mkl-fast is about the CPU"),
    ],
)
def test_bad_requests_are_refused_in_a_sentence_before_any_work(
    options: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in failure(options)
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_is_not_there_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that would use it is told by a module which Python imports at start that there is only the CPU."""
    (tmp_path / "sitecustomize.py").write_text(
        "import onnxruntime\nonnxruntime.get_available_providers = lambda: ['CPUExecutionProvider']\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    words = failure(["--device", "cuda", "--frames", "8"])
    assert words.startswith(
        "onnxruntime: device 'cuda' needs CUDAExecutionProvider, and this ONNX Runtime has only CPU"
    )


def test_a_processor_that_needs_no_telling_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etam_onnx.benchmark.machine.processor", lambda: {"vendor": "GenuineIntel"})
    monkeypatch.setattr("sys.platform", "linux")
    words = failure(["--against", "torch", "--mkl-fast"])
    assert words.startswith("--mkl-fast is for processors that are not Intel's")


def test_counting_without_onnx_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "etam_onnx.conversion.arithmetic", raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert failure(["--floor"]) == "this needs onnx; install it with: pip install 'etam-onnx[convert]'"


def test_a_run_that_fails_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"not a checkpoint")
    options = ["--against", "torch", "--checkpoint", str(tmp_path / "w.pt"), "--json", str(tmp_path / "out.json")]
    assert "w.pt is not a PyTorch checkpoint" in failure([*options, "--frames", "8", "--rounds", "1"])
    assert [path.name for path in tmp_path.iterdir()] == ["w.pt"]


def test_a_bundle_of_other_weights_asks_for_them(tmp_path: Path) -> None:
    shutil.copytree(Bundle.open().root, tmp_path / "mine")
    manifest = json.loads((tmp_path / "mine" / "manifest.json").read_text())
    manifest["source"]["checkpoint_sha256"] = "0" * 64
    (tmp_path / "mine" / "manifest.json").write_text(json.dumps(manifest))
    words = failure([str(tmp_path / "mine"), "--against", "torch"])
    assert words.endswith("does not come with this installation: name it with --checkpoint FILE")
