"""The Core ML packages of a bundle: every graph of the contract in every variant asked for, and what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...graphs.contract import Geometry, Graph, contract, memory_attention_name
from ...graphs.manifest import Program as Stated
from ...graphs.package_files import SUFFIX
from ...graphs.variants import COREML, precision_of, system_of
from ...model import EfficientTAM
from ...runtime.parity import EdgeError, replay
from ..scenario import Call
from .converter import IMAGE, converted, exported
from .descriptions import Facts, describe, take_pixels
from .forms import coreml_graph
from .functions import as_functions
from .interpreter import Interpreter, read_package
from .package_writer import Program, write_package

MEMORY_ATTENTION = "memory_attention"
"""The package whose functions are the graphs of memory attention, where a package can have several."""
FUNCTIONS_FROM = "iOS18"
FRAMES = ("pixels", "numbers")
"""How an image encoder may take a frame: an RGB image of 8 bits, which apps have, or an array as the contract says."""


@dataclass
class Packages:
    """What was written: files relative to the bundle, and by variant the package of each graph, what the manifest
    states of it, and errors against PyTorch.
    """

    files: list[str] = field(default_factory=list)
    graphs: dict[str, dict[str, str]] = field(default_factory=dict)
    programs: dict[str, dict[str, Stated]] = field(default_factory=dict)
    errors: dict[str, list[EdgeError]] = field(default_factory=dict)


def write_packages(
    model: EfficientTAM,
    geometry: Geometry,
    root: Path,
    variants: Sequence[str],
    calls: Sequence[Call],
    facts: Facts,
    frame: str = FRAMES[0],
    progress: Callable[[str], None] = lambda step: None,
) -> Packages:
    """Convert, measure and write the packages of some variants.

    Args:
        model: in evaluation mode.
        root: of the bundle; packages go to ``coreml/<variant>/``, without the variant's ``coreml-``.
        variants: names of variants that have a system.
        calls: of the graphs in PyTorch, to measure with.
        frame: how the image encoder takes a frame, of `FRAMES`.
        progress: called with the name of each step.

    Raises:
        ExportError: coremltools refuses a graph.
        ImportError: coremltools is not installed.
        ValueError: `frame` is none of `FRAMES`.
    """
    if frame not in FRAMES:
        raise ValueError(f"a frame goes in as {' or '.join(FRAMES)}, not as {frame}")
    graphs = contract(geometry)
    sources = {}
    for name, graph in graphs.items():
        progress(f"tracing {COREML} {name}")
        sources[name] = exported(coreml_graph(model, geometry, name), graph)
    written = Packages()
    for variant in variants:
        programs = {}
        for name, graph in graphs.items():
            progress(f"converting {variant} {name}")
            programs[name] = converted(sources[name], graph, system_of(variant), precision_of(variant))
        progress(f"measuring {variant}")
        for package, inside in packages_of(graphs, geometry, system_of(variant)).items():
            relative = f"{COREML}/{variant.removeprefix(f'{COREML}-')}/{package}{SUFFIX}"
            described = [graphs[name] for name in inside]
            whole = package_of({name: programs[name] for name in inside}, described, facts, frame)
            written.files += [f"{relative}/{name}" for name in write_package(whole, root / relative)]
            errors, stated = measured(root / relative, described, calls, precision_of(variant), frame)
            written.graphs.setdefault(variant, {}).update(dict.fromkeys(inside, relative))
            written.programs.setdefault(variant, {}).update(stated)
            written.errors.setdefault(variant, []).extend(errors)
        written.errors[variant].sort(key=lambda error: (error.graph, error.port))
    return written


def package_of(
    programs: Mapping[str, Program], graphs: Sequence[Graph], facts: Facts, frame: str = FRAMES[0]
) -> Program:
    """What one package holds, in words too."""
    whole = as_functions(programs) if len(programs) > 1 else next(iter(programs.values()))
    describe(whole, graphs, facts)
    if frame == "pixels":
        take_pixels(whole)
    return whole


def measured(
    path: Path, graphs: Sequence[Graph], calls: Sequence[Call], precision: str, frame: str = FRAMES[0]
) -> tuple[list[EdgeError], dict[str, Stated]]:
    """Replay recorded calls through the interpreter, rounding as the package declares.

    Args:
        path: of a package.
        graphs: those that its functions compute.
        precision: key of the contract's tolerances.
        frame: how the package takes a frame, if it does.

    Returns:
        Errors of every output, and by graph what a manifest states.
    """
    package = read_package(path)
    functions = {
        graph.name: graph.name if graph.name in package.functions else package.default_function for graph in graphs
    }
    runners = {name: Interpreter(package, function) for name, function in functions.items()}
    recorded = ((call.graph, call.inputs, call.outputs) for call in calls if call.graph in runners)
    errors = replay({graph.name: graph for graph in graphs}, runners, recorded, precision)
    stated = {}
    for graph in graphs:
        takes_frame = any(port.name == IMAGE for port in graph.inputs)
        function = package.function(functions[graph.name])
        stated[graph.name] = Stated(function.name, frame if takes_frame else "", function.histogram())
    return errors, stated


def packages_of(graphs: Mapping[str, Graph], geometry: Geometry, system: str) -> dict[str, list[str]]:
    """Names of the packages of a system, and the graphs in each."""
    attention = [memory_attention_name(slots) for slots in geometry.memory_counts]
    together = system == FUNCTIONS_FROM and len(attention) > 1
    found: dict[str, list[str]] = {}
    for name in graphs:
        found.setdefault(MEMORY_ATTENTION if together and name in attention else name, []).append(name)
    return found


def steps(graphs: int, variants: int) -> int:
    """How many times `write_packages` calls `progress`."""
    return graphs + variants * (graphs + 1) if variants else 0
