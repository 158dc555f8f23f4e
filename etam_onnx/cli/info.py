"""`etam-onnx info`: what a bundle says of itself."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..graphs.variants import precision_of

if TYPE_CHECKING:
    from ..graphs.bundle import Bundle
    from ..graphs.contract import Port

EXAMPLES = """examples:
  etam-onnx info etam-nano
  etam-onnx info my-bundle --graphs
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `info` to the command line."""
    parser = subparsers.add_parser(
        "info",
        help="show what a bundle holds",
        description="Show what a bundle says of itself: sizes, files, source of the weights, parity.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "bundle", nargs="?", default="etam-nano", metavar="BUNDLE", help="name or folder (default: etam-nano)"
    )
    parser.add_argument("--graphs", action="store_true", help="also list the inputs and outputs of every graph")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run `info`."""
    from ..graphs.bundle import Bundle

    bundle = Bundle.open(options.bundle)
    print("\n".join(described(bundle)))
    if options.graphs:
        print("\n".join(listed_graphs(bundle)))
    return 0


def described(bundle: Bundle) -> Iterator[str]:
    """The manifest's facts as lines, the ones that matter to a user first."""
    manifest, sizes = bundle.manifest, bundle.manifest.geometry
    total = sum(file.size for file in manifest.files.values())
    yield f"{manifest.model} in {bundle.root}"
    yield from _rows(
        {
            "size": f"{megabytes(total)} in {len(manifest.files)} files",
            "input": f"RGB, {sizes.image_size}x{sizes.image_size} pixels, 0..255",
            "features": f"{sizes.grid}x{sizes.grid} cells of {sizes.width} channels",
            "masks": f"{sizes.mask_size}x{sizes.mask_size} pixels before upsampling",
            "memory": f"{sizes.prompted_frames} prompted and {sizes.recent_memories} recent frames of "
            f"{sizes.memory_width} channels, {sizes.pointer_slots} object pointers",
            "prompts": f"up to {sizes.prompt_slots - 1} points on a frame, a box counting as two",
        }
    )
    for variant, files in sorted(manifest.variants.items()):
        yield f"variant {variant} ({precision_of(variant)})"
        for graph, path in files.items():
            # A package for Core ML is a folder.
            parts = [file.size for name, file in manifest.files.items() if f"{name}/".startswith(f"{path}/")]
            size = f"  ({megabytes(sum(parts))})" if parts else ""
            yield f"  {graph}: {path}{size}"
    for title, facts in (
        ("source", manifest.source),
        ("model card", manifest.card),
        ("parity", manifest.parity),
    ):
        if facts:
            yield title
            yield from _rows(facts)


def listed_graphs(bundle: Bundle) -> Iterator[str]:
    """Every graph of every variant with its ports."""
    for variant in sorted(bundle.manifest.variants):
        yield f"graphs of {variant}"
        for graph in bundle.graphs_of(variant).values():
            yield f"graph {graph.name}: {graph.doc}"
            yield from (f"  in   {_port(port)}" for port in graph.inputs)
            yield from (f"  out  {_port(port)}" for port in graph.outputs)


def megabytes(size: int) -> str:
    """A number of bytes as a short text: 512 bytes, 23 kB, 4.2 MB."""
    if size < 1000:
        return f"{size} bytes"
    return f"{size / 1e3:.0f} kB" if size < 1e6 else f"{size / 1e6:.1f} MB"


def _port(port: Port) -> str:
    return f"{port.name} {port.dtype} {list(port.shape)}: {port.doc}"


def _rows(facts: Mapping[str, Any], indent: int = 2) -> Iterator[str]:
    """Nested facts, one per line, deeper ones further in."""
    width = max(len(str(name)) for name in facts)
    for name, value in facts.items():
        label = str(name).replace("_", " ")
        if isinstance(value, Mapping) and value:
            yield f"{' ' * indent}{label}"
            yield from _rows(value, indent + 2)
        elif isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value):
            yield f"{' ' * indent}{label}"
            yield from _table(value, indent + 2)
        else:
            yield f"{' ' * indent}{label:<{width}}  {_plain(value)}"


def _table(rows: Sequence[Mapping[str, Any]], indent: int) -> Iterator[str]:
    """Facts of the same kind, one row each under the names of the columns, words before numbers."""
    columns = sorted(rows[0], key=lambda name: not isinstance(rows[0][name], str))
    lines = [columns, *([_plain(row.get(name, "")) for name in columns] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(columns))]
    for line in lines:
        cells = (f"{text:<{width}}" for text, width in zip(line, widths, strict=True))
        yield (" " * indent + "  ".join(cells)).rstrip()


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value)
    return str(value)
