"""The command `etam-onnx`: finds the subcommand, and turns errors into one sentence and an exit code.

Exit codes: 0 done, 1 an error, 2 a command line that cannot be parsed, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from types import FrameType
from typing import NoReturn

# Each module has `register(subparsers)` and imports nothing heavy until its command runs.
COMMANDS = (
    "track",
    "segment",
    "info",
    "export",
    "verify",
    "lint",
    "compare",
    "evaluate",
    "ablate",
    "train",
    "clips",
    "bench",
)
EXTRAS = {
    "onnxruntime": "cpu",
    "torch": "train",
    "cv2": "train",
    "onnx": "convert",
    "onnxscript": "convert",
}
STOPPED = 128 + signal.SIGINT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    options = build_parser().parse_args(arguments)
    # A terminated run cleans up like an interrupted one.
    previous = signal.signal(signal.SIGTERM, _terminated)
    try:
        return int(options.run(options) or 0)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:
        # The reader of our output went away; keep the interpreter from complaining when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        if options.traceback:
            raise
        print(f"error: {sentence(error)}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, previous)


def build_parser() -> argparse.ArgumentParser:
    """The parser with all subcommands."""
    parser = argparse.ArgumentParser(
        prog="etam-onnx",
        description="Track anything in video: point at it once, get its mask on every frame.",
    )
    parser.add_argument("--version", action="version", version=f"etam-onnx {version()}")
    parser.add_argument("--traceback", action="store_true", help="show where in the program an error came from")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        import_module(f".{name}", __package__).register(subparsers)
    return parser


def version() -> str:
    """The version of the installed package."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("etam-onnx")
    except PackageNotFoundError:
        return "(not installed)"


def sentence(error: Exception) -> str:
    """An error as one line for a user."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        missing = error.name.split(".")[0]
        if missing in EXTRAS:
            return f"this needs {missing}; install it with: pip install 'etam-onnx[{EXTRAS[missing]}]'"
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    text = " ".join(str(error).split())
    return text or type(error).__name__


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
