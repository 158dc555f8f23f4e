"""`etam-onnx bench`: how long tracking takes, where the time goes, and how that compares with PyTorch."""

from __future__ import annotations

import argparse
import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .atomic import check_parent, finished_file

if TYPE_CHECKING:
    from ..benchmark.contender import Contender
    from ..benchmark.floor import Floor
    from ..benchmark.trial import Trial
    from ..graphs.bundle import Bundle

DEVICES = ("cpu", "cuda")
SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")
SMALLEST = 64
EXAMPLES = """examples:
  etam-onnx bench
  etam-onnx bench etam-nano --objects 1 5 --against torch --mkl-fast --json bench.json
  etam-onnx bench my-bundle --variant ort ort-int8 --floor
  etam-onnx bench my-bundle --checkpoint weights.pt --against torch --graphs-only --frames 24
  etam-onnx bench etam-nano --size 1920x1080 --objects 1
  taskset -c 0,1 etam-onnx bench my-bundle --video clip.mp4

docs/benchmarks.md says what the columns mean.
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `bench` to the command line."""
    parser = subparsers.add_parser(
        "bench",
        help="measure speed and memory",
        description="Track a clip and measure: time of every graph and of everything around them, frames per second, "
        "memory, start-up; with --against torch beside the same model in PyTorch, taking turns.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "bundle", nargs="?", default="etam-nano", metavar="BUNDLE", help="name or folder (default: etam-nano)"
    )
    parser.add_argument(
        "--variant",
        nargs="+",
        metavar="NAME",
        help="of the bundle's graphs; several take turns (default: the device's best)",
    )
    parser.add_argument("--device", default="cpu", choices=DEVICES, help="cpu or cuda (default: cpu)")
    parser.add_argument("--threads", type=int, metavar="N", help="threads on the CPU (default: one per core)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write everything that was measured to this file")
    work = parser.add_argument_group("work")
    work.add_argument(
        "--objects", type=int, nargs="+", default=[1, 5], metavar="N", help="numbers of objects (default: 1 5)"
    )
    work.add_argument("--frames", type=int, default=40, metavar="N", help="frames of each round (default: 40)")
    work.add_argument("--rounds", type=int, default=3, metavar="N", help="times the clip is tracked (default: 3)")
    work.add_argument(
        "--turn",
        type=int,
        metavar="N",
        help="frames until the other side has its turn (default: 1 with --graphs-only, else a whole round)",
    )
    work.add_argument("--video", type=Path, metavar="FILE", help="what is tracked (default: the clip of track --demo)")
    work.add_argument("--size", metavar="WxH", help="draw the default clip at this size (default: 854x480)")
    work.add_argument("--fill-holes", type=int, default=0, metavar="AREA", help="as in track (default: 0)")
    work.add_argument(
        "--graphs-only", action="store_true", help="decode beforehand, draw and write nothing, start nothing afresh"
    )
    against = parser.add_argument_group("comparison")
    against.add_argument(
        "--floor",
        action="store_true",
        help="count the multiply-adds of every graph, and compare with the speed of plain matrix products",
    )
    against.add_argument("--against", choices=("torch",), help="do the same work in PyTorch, taking turns")
    against.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="weights for PyTorch (default: those the bundle was made from)"
    )
    against.add_argument(
        "--mkl-fast", action="store_true", help="have PyTorch run a second time, with MKL told to take its fast path"
    )
    how = against.add_mutually_exclusive_group()
    how.add_argument("--eager", dest="compiled", action="store_false", help="PyTorch as it is (default)")
    how.add_argument("--compiled", action="store_true", help="PyTorch with torch.compile on every part of the model")
    against.add_argument(
        "--torch-precision", default="fp32", choices=("fp32", "bf16"), help="fp32, or bf16 by autocast (default: fp32)"
    )
    parser.set_defaults(run=run, compiled=False)


def run(options: argparse.Namespace) -> int:
    """Run `bench`. Everything that can be wrong with the request is found before anything is measured."""
    trial = trial_of(options)
    from ..benchmark.report import report

    result = trial.run()
    if options.json is not None:
        with finished_file(options.json) as part:
            part.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(report(result))
    return 0


def trial_of(options: argparse.Namespace) -> Trial:
    """What the options ask for.

    Raises:
        ValueError, OSError, ImportError: it cannot be done; one sentence.
    """
    from ..benchmark.trial import Trial
    from ..graphs.bundle import Bundle

    _check_numbers(options)
    if options.json is not None:
        check_parent(options.json)
        if options.json.is_dir():
            raise IsADirectoryError(f"{options.json} is a folder; name a file to write")
    if options.video is not None and options.size is not None:
        raise ValueError("--size is for the clip that is drawn; a --video keeps its own size")
    bundle = Bundle.open(options.bundle)
    contenders, compiler = _contenders(options, bundle)
    floor = _floor(options, bundle) if options.floor else None
    trial = Trial(
        bundle=bundle,
        contenders=tuple(contenders),
        objects=tuple(dict.fromkeys(options.objects)),
        frames=options.frames,
        rounds=options.rounds,
        turn=options.turn or (1 if options.graphs_only else None),
        video=options.video,
        size=_size(options.size),
        fill_holes=options.fill_holes,
        graphs_only=options.graphs_only,
        compiler=compiler,
        floor=floor,
    )
    if trial.frames <= trial.apart:
        raise ValueError(
            f"--frames should be at least {trial.apart + 1}: the first {trial.apart} have fewer memories than the "
            "others and are counted apart"
        )
    return trial


def _contenders(options: argparse.Namespace, bundle: Bundle) -> tuple[list[Contender], str | None]:
    """Who takes part, and the compiler that is needed for it."""
    from ..benchmark.contender import Contender, packaged_checkpoint
    from ..benchmark.machine import cores, processor
    from ..benchmark.mkl import check_unlockable

    shared: dict[str, Any] = {
        "bundle": str(bundle.root),
        "device": options.device,
        "threads": options.threads or cores(),
    }
    variants = list(dict.fromkeys(options.variant or [None]))
    for variant in variants:
        if variant is not None and variant not in bundle.manifest.variants:
            raise ValueError(
                f"the bundle {bundle.root} has no variant {variant!r}, it has {sorted(bundle.manifest.variants)}"
            )
    contenders = [
        Contender(name=variant or "onnxruntime", backend="onnxruntime", variant=variant, checkpoint=None, **shared)
        for variant in variants
    ]
    if options.against is None:
        for option in ("checkpoint", "mkl_fast", "compiled"):
            if getattr(options, option):
                raise ValueError(f"--{option.replace('_', '-')} is about PyTorch and needs --against torch")
        return contenders, None
    if find_spec("torch") is None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")
    checkpoint = options.checkpoint or packaged_checkpoint(bundle)
    if not checkpoint.is_file():
        raise FileNotFoundError(f"there is no checkpoint at {checkpoint}")
    shared |= {
        "backend": "torch",
        "variant": None,
        "checkpoint": str(checkpoint),
        "compiled": options.compiled,
        "precision": options.torch_precision,
    }
    contenders.append(Contender(name="torch", **shared))
    if not options.mkl_fast:
        return contenders, None
    if options.device != "cpu":
        raise ValueError("--mkl-fast is about the CPU; leave it out with --device cuda")
    compiler = check_unlockable(processor()["vendor"])
    contenders.append(Contender(name="torch, MKL fast", mkl_fast=True, **shared))
    return contenders, compiler


def _floor(options: argparse.Namespace, bundle: Bundle) -> Floor:
    """What the variants compute, and the products to compare them with."""
    from ..benchmark.contender import best_variant
    from ..benchmark.floor import Floor, Products

    if options.device != "cpu":
        raise ValueError(f"--floor is about the CPU; leave it out with --device {options.device}")
    from ..conversion.arithmetic import arithmetic_of_file
    from ..conversion.matrix_products import CHAINS

    variants = options.variant or filter(None, [best_variant(bundle, options.device)])
    counts = {
        variant: {name: arithmetic_of_file(path).as_json() for name, path in bundle.graph_paths(variant).items()}
        for variant in variants
    }
    return Floor(
        tuple(Products(chain.name, chain.multiply_adds, chain.model().SerializeToString()) for chain in CHAINS), counts
    )


def _check_numbers(options: argparse.Namespace) -> None:
    for option in ("threads", "frames", "rounds", "turn"):
        value = getattr(options, option)
        if value is not None and value < 1:
            raise ValueError(f"--{option} should be at least 1, found {value}")
    if min(options.objects) < 1:
        raise ValueError(f"--objects takes numbers of at least 1, found {min(options.objects)}")
    if options.fill_holes < 0:
        raise ValueError(f"--fill-holes must not be negative, found {options.fill_holes}")


def _size(text: str | None) -> tuple[int, int]:
    """(width, height) in pixels."""
    from .demo_clip import SIZE as DRAWN

    if text is None:
        return DRAWN
    found = SIZE.fullmatch(text)
    size = (int(found[1]), int(found[2])) if found else (0, 0)
    if min(size) < SMALLEST or any(side % 2 for side in size):
        raise ValueError(f"--size takes even numbers of at least {SMALLEST} as in 1920x1080, found {text!r}")
    return size
