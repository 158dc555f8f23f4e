"""The page that tells a port to another language everything: graphs, what a host does, manifest, vectors.

`python -m etam_onnx.graphs.page docs/graphs.md` writes it from the contract and the manifest's data types.
Standard library only.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from itertools import groupby
from pathlib import Path

from . import files_guide, host_guide, ort_guide
from .contract import Geometry, Graph, Port, contract
from .files_guide import described
from .host_guide import Situation
from .manifest import MANIFEST, Constants, File, Preprocessing, Program, Rules
from .ort_contract import Deployment, ort_contract
from .symbols import derived_sizes, field_names, formula, symbolic, symbolic_deployment
from .variants import ORT, PORTABLE, VARIANTS
from .vectors import FOLDER

EXAMPLE_NAME = "etam-nano"
EXAMPLE = Geometry(
    image_size=384,
    stride=16,
    width=128,
    memory_width=64,
    recent_memories=6,
    recent_pointers=15,
    prompted_frames=8,
    prompt_slots=16,
)
"""The geometry whose numbers the page shows beside the formulas."""
EXAMPLE_DEPLOYMENT = Deployment(layers=2, pool=2, memory_counts=(1, 7, 14))
"""The deployment that goes with it."""


_PORTS = {PORTABLE: "Graphs", ORT: "Graphs for ONNX Runtime"}
"""Title of the section with the ports of each kind of edges."""


def page(geometry: Geometry = EXAMPLE, name: str = EXAMPLE_NAME, deployment: Deployment = EXAMPLE_DEPLOYMENT) -> str:
    """The text of the page in Markdown, with the numbers of `geometry` and `deployment`, called `name`."""
    parts = (
        _opening(name),
        _variants(),
        _sizes(geometry, name),
        _graphs(geometry, name),
        _host(),
        _ort_graphs(geometry, name, deployment),
        _ort_host(),
        _manifest(),
        _vectors(),
    )
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """A Markdown table."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |"


def _code(text: object) -> str:
    return f"`{text}`"


def _opening(name: str) -> Iterator[str]:
    yield "# The graphs of a bundle and the host around them"
    yield ""
    yield "<!-- Written by `python -m etam_onnx.graphs.page docs/graphs.md`; change the data types, not this file. -->"
    yield ""
    yield "For whoever runs a bundle without this package: what each graph takes and gives, what the host does between"
    yield f"them, and what the other files say.  Numbers are those of `{name}`; a bundle's own are in its `{MANIFEST}`."


def _variants() -> Iterator[str]:
    yield "## Variants"
    yield ""
    yield "A bundle has its graphs in one variant or several; files that two variants share are there once."
    yield ""
    yield from table(
        ("variant", "ports", "precision", "for"),
        ((_code(v.name), _PORTS[v.edges], v.precision, v.doc) for v in VARIANTS.values()),
    )
    yield ""
    yield files_guide.PACKAGES


def _sizes(geometry: Geometry, name: str) -> Iterator[str]:
    yield "## Sizes"
    yield ""
    yield "Given by the manifest's `geometry`:"
    yield ""
    values = geometry.as_dict()
    meanings = {key: meaning for names, meaning in described(Geometry) for key in names}
    yield from table(("size", name, "meaning"), ((_code(k), values[k], meanings[k]) for k in field_names()))
    yield ""
    yield "Computed from them:"
    yield ""
    derived = derived_sizes(geometry).items()
    yield from table(("size", "formula", name, "meaning"), ((_code(k), *row) for k, row in derived))


def _graphs(geometry: Geometry, name: str) -> Iterator[str]:
    yield "## Graphs"
    yield ""
    yield "All tensors are in C order and all shapes are static.  *host*: small, written or read by the host."
    yield "*device*: passed from graph to graph, may stay where it was computed.  An output is within tolerance if"
    yield "max|a - b| / max(max|b|, unit) is; a is what was found, b what PyTorch computes."
    yield from _listed(contract(symbolic(geometry)).values(), name)


def _listed(graphs: Iterable[Graph], name: str) -> Iterator[str]:
    for graph in graphs:
        yield ""
        yield f"### {graph.name}"
        yield ""
        yield f"{graph.doc}  Tolerance: " + ", ".join(f"{v:g} ({k})" for k, v in graph.tolerance.items()) + "."
        yield ""
        head = ("", "port", "shape", name, "type", "where", "unit", "meaning")
        yield from table(head, _ports(graph))


def _ort_graphs(geometry: Geometry, name: str, deployment: Deployment) -> Iterator[str]:
    yield f"## {_PORTS[ORT]}"
    yield ""
    yield "The same functions, cut where ONNX Runtime is fastest.  Features between graphs are row-major tokens.  What"
    yield "does not depend on memory is computed once per frame for all objects; what memory attention reads of a"
    yield "memory, once when it is written.  Tracked frames have a decoder of their own.  `layers` of memory attention,"
    yield "side `pool` of its windows, and the numbers in the graphs' names: the manifest's `deployment` has them,"
    yield f"`{name}` {deployment.layers}, {deployment.pool} and {', '.join(map(str, deployment.memory_counts))}."
    yield from _listed(ort_contract(symbolic(geometry), symbolic_deployment(deployment)).values(), name)


def _ports(graph: Graph) -> Iterator[tuple[object, ...]]:
    """One row per port; neighbours that differ in nothing but their name share one."""
    for side, ports in (("in", graph.inputs), ("out", graph.outputs)):
        for _, equal in groupby(ports, key=_row):
            alike = list(equal)
            label = _code(alike[0].name) + (f" to {_code(alike[-1].name)}" if len(alike) > 1 else "")
            yield side, label, *_row(alike[0])


def _row(port: Port) -> tuple[object, ...]:
    shapes = ("[" + ", ".join(map(convert, port.shape)) + "]" for convert in (formula, lambda n: str(int(n))))
    return *shapes, port.dtype, "host" if port.host else "device", f"{port.unit:g}" if port.unit else "", port.doc


def _host() -> Iterator[str]:
    guide = host_guide
    yield "## What a host does per frame"
    yield ""
    yield from table(("who", "does", "how"), ((who, what, how) for what, who, how in guide.WHO))
    for situation in guide.SITUATIONS:
        yield ""
        yield f"### {situation.title}"
        yield ""
        yield situation.when
        yield from _steps(situation)
    for title, text in (
        ("Points", guide.POINTS),
        ("Answer", guide.ANSWER),
        ("Mask prompts", guide.MASK_PROMPTS),
        ("Output", guide.OUTPUT),
        ("Memory", guide.MEMORY),
    ):
        yield from ("", f"### {title}", "", text)
        if title == "Points":
            yield ""
            yield from table(("column of `point_label`", "label", "meaning"), guide.POINT_LABELS)


def _steps(situation: Situation) -> Iterator[str]:
    for number, step in enumerate(situation.steps, 1):
        yield ""
        yield f"{number}. `{step.graph}`.  {step.then}"
        yield ""
        for port, value in step.inputs.items():
            yield f"   - `{port}`: {value}"


def _ort_host() -> Iterator[str]:
    yield "## What a host does per frame with the graphs for ONNX Runtime"
    yield ""
    yield "Situations and rules are those above; the graphs that run and what they are given are these."
    for situation in ort_guide.SITUATIONS:
        yield ""
        yield f"### {situation.title}, for ONNX Runtime"
        yield from _steps(situation)


def _manifest() -> Iterator[str]:
    yield f"## {MANIFEST}"
    yield ""
    keys = files_guide.manifest_keys()
    yield from table(("key", "holds"), ((_code(key), files_guide.MANIFEST_FIELDS[key]) for key in keys))
    for title, kind in (
        ("`rules`", Rules),
        ("`preprocessing`", Preprocessing),
        ("`constants`", Constants),
        ("an entry of `files`", File),
        ("a graph in `programs`", Program),
        ("a port in `graphs`", Port),
    ):
        yield ""
        yield f"### {title[0].upper()}{title[1:]}"
        yield ""
        yield from _fields(kind)


def _fields(kind: type) -> Iterator[str]:
    """A table of a dataclass: names, defaults if any, meanings."""
    if kind is Port:
        yield ", ".join(_code(field.name) for field in fields(Port)) + ": the columns of the tables in Graphs."
        return
    defaults = {field.name: files_guide.default(field) for field in fields(kind)}
    rows = [
        (", ".join(map(_code, names)), ", ".join(defaults[name] for name in names), meaning)
        for names, meaning in described(kind)
    ]
    if any(value for _, value, _ in rows):
        yield from table(("field", "value", "meaning"), rows)
    else:
        yield from table(("field", "meaning"), ((names, meaning) for names, _, meaning in rows))


def _vectors() -> Iterator[str]:
    yield f"## {FOLDER}/"
    yield ""
    yield files_guide.VECTORS
    yield ""
    yield from table(("key of the index", "holds"), ((_code(k), v) for k, v in files_guide.INDEX_FIELDS.items()))
    yield ""
    yield from table(("step's `do`", "with"), ((_code(k), v) for k, v in files_guide.SCRIPT_STEPS.items()))
    yield ""
    yield files_guide.SCRIPT


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page to a file, or print it."""
    parser = argparse.ArgumentParser(prog="python -m etam_onnx.graphs.page", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("output", nargs="?", type=Path, help="file to write; without it the page is printed")
    output: Path | None = parser.parse_args(arguments).output
    if output is None:
        print(page(), end="")
        return 0
    try:
        output.write_text(page(), encoding="utf-8")
    except OSError as error:
        print(f"error: {output} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
