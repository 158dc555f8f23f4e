"""The command itself: version, help, and how errors of all kinds end."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys

import pytest

from etam_onnx.cli import main as command
from etam_onnx.cli.main import COMMANDS, build_parser, main, sentence

HEAVY = ("numpy", "av", "PIL", "tqdm", "torch", "onnxruntime", "onnx", "cv2")


def run_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def parser() -> argparse.ArgumentParser:
        def fail(options: argparse.Namespace) -> int:
            raise error

        made = argparse.ArgumentParser()
        made.set_defaults(run=fail, traceback=False)
        return made

    monkeypatch.setattr(command, "build_parser", parser)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    name, number = capsys.readouterr().out.split()
    assert name == "etam-onnx"
    assert number[0].isdigit()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    assert name in capsys.readouterr().out


def test_the_parser_imports_nothing_heavy() -> None:
    code = (
        "import sys; from etam_onnx.cli.main import build_parser; build_parser();"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_what_cannot_be_parsed_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["no-such-command"], ["track", "--no-such-option"], ["track", "--start", "soon"]):
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code == 2
        assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("the mask has\n  no pixels"), "the mask has no pixels"),
        (FileNotFoundError("there is no file x.mp4"), "there is no file x.mp4"),
        (FileNotFoundError(2, "No such file or directory", "x.mp4"), "x.mp4: No such file or directory"),
        (PermissionError(13, "Permission denied", "/out.mp4"), "/out.mp4: Permission denied"),
        (RuntimeError("no such device"), "no such device"),
        (
            ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime"),
            "this needs onnxruntime; install it with: pip install 'etam-onnx[cpu]'",
        ),
        (
            ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn"),
            "this needs torch; install it with: pip install 'etam-onnx[train]'",
        ),
        (ValueError(), "ValueError"),
    ],
)
def test_errors_are_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, line: str
) -> None:
    assert sentence(error) == line
    run_with(monkeypatch, error)
    assert main([]) == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"error: {line}\n")


def test_mistakes_of_the_program_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    for mistake in (TypeError("x"), KeyError("x"), AttributeError("x"), AssertionError("x")):
        run_with(monkeypatch, mistake)
        with pytest.raises(type(mistake)):
            main([])


def test_stopping_exits_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    run_with(monkeypatch, KeyboardInterrupt())
    assert main([]) == 130
    assert capsys.readouterr().err == "stopped\n"
    assert signal.getsignal(signal.SIGTERM) is before


def test_traceback_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="name a video to track"):
        main(["--traceback", "track"])
    assert main(["track"]) == 1
    assert capsys.readouterr().err == "error: name a video to track, or try --demo\n"


def test_module_and_script_are_the_same() -> None:
    assert build_parser().prog == "etam-onnx"
    result = subprocess.run(
        [sys.executable, "-m", "etam_onnx.cli.main", "track"], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "error: name a video to track, or try --demo\n"
