"""Core ML packages as a table: what each graph costs and loses in every way that its weights may be stored.

python -m etam_onnx.conversion.coreml.tables --model efficienttam_ti_1 --checkpoint efficienttam_ti_1.pt
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ...config import config_named
from ...graphs.contract import Graph, contract
from ...manifest_of_model import geometry_of
from ...model import EfficientTAM, load_checkpoint
from ...torch_backend import torch_networks
from ..scenario import Call, record
from ..worth.subject import random_model
from .compression import WEIGHTS
from .converter import converted, exported
from .descriptions import Facts
from .forms import coreml_graph
from .package_writer import write_package
from .packages import measured, package_of, packages_of

SINGLE = "fp32"
KINDS = (SINGLE, *WEIGHTS)
"""Single precision throughout, which is for comparison only, and half precision with weights stored as named."""


@dataclass(frozen=True)
class Cell:
    """One package: largest error of its outputs against PyTorch, size in bytes, seconds to trace and convert."""

    error: float
    size: int
    seconds: float


@dataclass(frozen=True)
class Row:
    """One package by kind of weights; operators: of its function, or of all its functions, but for those that only
    unpack weights.
    """

    package: str
    operators: int
    cells: dict[str, Cell]


def rows(
    model: EfficientTAM,
    system: str,
    kinds: Sequence[str],
    packages: Sequence[str] = (),
    progress: Callable[[str], None] = lambda step: None,
) -> Iterator[Row]:
    """Convert and measure the packages of a model, one after the other.

    Args:
        model: in evaluation mode.
        system: oldest one that runs them, such as "iOS18".
        kinds: of `KINDS`.
        packages: names of those that matter; by default all.
        progress: called with the name of each step.

    Raises:
        ExportError: coremltools refuses a graph.
        ImportError: coremltools is not installed.
        ValueError: there is no such package.
    """
    geometry = geometry_of(model.config)
    graphs = contract(geometry)
    every = packages_of(graphs, geometry, system)
    for package in packages:
        if package not in every:
            raise ValueError(f"there is no package {package}; {system} has {', '.join(every)}")
    progress("recording the reference")
    calls = record(torch_networks(model, geometry))[1]
    for package, inside in every.items():
        if packages and package not in packages:
            continue
        sources, seconds = {}, 0.0
        for name in inside:
            progress(f"tracing {name}")
            began = time.perf_counter()
            sources[name] = exported(coreml_graph(model, geometry, name), graphs[name])
            seconds += time.perf_counter() - began
        functions = {name: graphs[name] for name in inside}
        cells, operators = {}, 0
        for kind in kinds:
            progress(f"{package} in {kind}")
            operators, cells[kind] = _measured(sources, functions, system, kind, calls, seconds)
        yield Row(package, operators, cells)


def _measured(
    sources: Mapping[str, Any],
    graphs: Mapping[str, Graph],
    system: str,
    kind: str,
    calls: Sequence[Call],
    tracing: float,
) -> tuple[int, Cell]:
    """Operators of a package, and what it costs and loses."""
    began = time.perf_counter()
    precision, weights = (SINGLE, WEIGHTS[0]) if kind == SINGLE else ("fp16", kind)
    programs = {name: converted(sources[name], graph, system, weights, precision) for name, graph in graphs.items()}
    whole = package_of(programs, list(graphs.values()), Facts(""))
    seconds = tracing + time.perf_counter() - began
    with TemporaryDirectory() as folder:
        path = Path(folder) / "measured.mlpackage"
        size = sum((path / name).stat().st_size for name in write_package(whole, path))
        errors, stated = measured(path, list(graphs.values()), calls, kind)
    counts = (item for program in stated.values() for item in program.operators.items())
    operators = sum(count for name, count in counts if not name.startswith("constexpr_"))
    return operators, Cell(max(error.error for error in errors), size, seconds)


def markdown(found: Sequence[Row], kinds: Sequence[str]) -> Iterator[str]:
    """The table, with a last row for all packages together."""
    heads = [f"{kind} error" if kind == SINGLE else f"{kind} error | MB | s" for kind in kinds]
    columns = sum(head.count("|") + 1 for head in heads)
    yield f"| package | operators | {' | '.join(heads)} |"
    yield f"|---|---|{'---|' * columns}"
    for row in found:
        yield _line(f"`{row.package}`", row.operators, row.cells, kinds)
    whole = {
        kind: Cell(
            max(row.cells[kind].error for row in found),
            sum(row.cells[kind].size for row in found),
            sum(row.cells[kind].seconds for row in found),
        )
        for kind in kinds
    }
    yield _line("all", sum(row.operators for row in found), whole, kinds)


def _line(name: str, operators: int, cells: Mapping[str, Cell], kinds: Sequence[str]) -> str:
    texts = [name, str(operators)]
    for kind in kinds:
        cell = cells[kind]
        texts.append(f"{cell.error:.1e}")
        if kind != SINGLE:
            texts += [f"{cell.size / 1e6:.2f}", f"{cell.seconds:.0f}"]
    return f"| {' | '.join(texts)} |"


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(
        prog="python -m etam_onnx.conversion.coreml.tables",
        description="Convert every graph of a model to Core ML and print, per package and way of storing weights, the "
        "largest error of any output against PyTorch (computed by the interpreter, rounding as declared), the size "
        "and the seconds it took.",
    )
    made.add_argument("--model", default="etam-nano", metavar="NAME", help="configuration (default: etam-nano)")
    made.add_argument("--checkpoint", type=Path, metavar="FILE", help="weights of it (default: random ones)")
    made.add_argument("--system", default="iOS18", choices=("iOS17", "iOS18"), help="oldest one (default: iOS18)")
    made.add_argument("--weights", nargs="+", choices=KINDS, default=list(KINDS), help="columns (default: all)")
    made.add_argument("--packages", nargs="+", default=[], metavar="NAME", help="rows (default: all)")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = parser().parse_args(arguments)
    kinds = list(dict.fromkeys(options.weights))
    try:
        if options.checkpoint is None:
            model = random_model(config_named(options.model))
        else:
            model = load_checkpoint(options.model, options.checkpoint).eval().requires_grad_(False)
        steps = rows(model, options.system, kinds, options.packages, lambda step: print(step, file=sys.stderr))
        found = list(steps)
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    print("\n".join(markdown(found, kinds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
