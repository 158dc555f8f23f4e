"""The command line of `python -m etam_onnx.conversion.worth`.  Imports nothing heavy until it measures."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .table import Measurements

EXAMPLES = """examples:
  python -m etam_onnx.conversion.worth --model efficienttam_ti_512x512 --threads 2 --json worth.json
  python -m etam_onnx.conversion.worth --only window-order pad-token
  python -m etam_onnx.conversion.worth --list

Times do not depend on the weights, so they are random unless there is a --checkpoint; only the rounding errors of int8
are then those of random weights.
"""


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(
        prog="python -m etam_onnx.conversion.worth",
        description="Time every rewriting of the graphs for ONNX Runtime against the same graph without it, call by "
        "call in turns, and show how far the results differ.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--model", default="etam-nano", metavar="NAME", help="configuration (default: etam-nano)")
    made.add_argument("--image-size", type=int, metavar="PIXELS", help="other input size than the configuration's")
    made.add_argument("--checkpoint", type=Path, metavar="FILE", help="weights of it (default: random ones)")
    made.add_argument("--threads", type=int, metavar="N", help="of one operator (default: one per core)")
    made.add_argument("--rounds", type=int, default=20, metavar="N", help="least calls of each form (default: 20)")
    made.add_argument(
        "--seconds",
        type=float,
        default=2.0,
        metavar="S",
        help="go on for so long with each pair where its calls are short (default: 2)",
    )
    made.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these rewritings (default: all)")
    made.add_argument("--list", action="store_true", help="say what there is, and measure nothing")
    made.add_argument("--json", type=Path, metavar="OUT", help="write everything there too, every round included")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = parser().parse_args(arguments)
    try:
        _run(options)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        print(f"error: this needs {error.name}; install it with: pip install 'etam-onnx[convert]'", file=sys.stderr)
        return 1
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
    for name in ("rounds", "threads"):
        number = getattr(options, name)
        if number is not None and number < 1:
            raise ValueError(f"--{name} should be at least 1, found {number}")
    if not 0 <= options.seconds < float("inf"):
        raise ValueError(f"--seconds should be 0 or more, found {options.seconds:g}")
    if options.json is not None and not options.json.absolute().parent.is_dir():
        raise ValueError(f"--json: the folder {options.json.absolute().parent} does not exist")
    if options.json is not None and options.json.is_dir():
        raise ValueError(f"--json: {options.json} is a folder")
    from .registry import named

    chosen = named(options.only)
    if options.list:
        for rewriting in chosen:
            print(f"{rewriting.name} ({rewriting.where}; {rewriting.scope}): {rewriting.identity}")
        return
    from .table import as_json, as_text
    from .timing import require_agreement

    measured = _measure(options)
    print(as_text(measured))
    if options.json is not None:
        partial = options.json.with_name(f".{options.json.name}.partial")
        partial.write_text(json.dumps(as_json(measured), indent=1) + "\n", encoding="utf-8")
        partial.replace(options.json)
    require_agreement(measured.found)


def _measure(options: argparse.Namespace) -> Measurements:
    from tqdm import tqdm

    from ...config import config_named
    from ...model import load_checkpoint
    from ...runtime.onnxruntime_device import Device
    from .registry import named
    from .subject import FRAME, Subject, random_model
    from .table import Measurements
    from .timing import Effort, frame_times, worth_of

    config = config_named(options.model, image_size=options.image_size)
    threads = options.threads or _cores()
    device = Device("cpu", threads)
    if options.checkpoint is None:
        model = random_model(config)
    else:
        model = load_checkpoint(options.model, options.checkpoint, image_size=options.image_size)
    subject, chosen = Subject(model), named(options.only)
    effort = Effort(options.rounds, options.seconds)
    found = []
    with tqdm(total=len(FRAME) + len(chosen), unit="step", leave=False) as bar:

        def opened(name: str) -> None:
            bar.set_description(name)
            bar.update()

        frame = frame_times(subject, device, effort, opened)
        for rewriting in chosen:
            bar.set_description(rewriting.name)
            found.append(worth_of(rewriting, subject, device, effort))
            bar.update()
    weights = "random weights" if options.checkpoint is None else str(options.checkpoint.name)
    return Measurements(
        config.name, config.image_size, weights, threads, options.rounds, _versions(), frame, tuple(found)
    )


def _cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _versions() -> dict[str, str]:
    found = {}
    for package in ("etam-onnx", "onnxruntime", "torch"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
