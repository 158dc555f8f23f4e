"""`etam-onnx lint`: what would leave the Neural Engine, or split ONNX Runtime's Core ML partition."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..conversion.lint import Report
    from ..conversion.rules import Exemption

SHOWN = 5
"""Places of one rule in one graph that are listed unless all are asked for."""
WIDTH = 100
FILES = (".onnx", ".mlpackage")
EXAMPLES = """examples:
  etam-onnx lint etam-nano
  etam-onnx lint my-bundle --variant coreml-ios18
  etam-onnx lint my-bundle/coreml/ios18/mask_decoder.mlpackage
"""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `lint` to the command line."""
    parser = subparsers.add_parser(
        "lint",
        help="list what would leave the Neural Engine or split a Core ML partition",
        description="List, per graph, what would leave the Neural Engine (Core ML packages) or split the partition of "
        "ONNX Runtime's Core ML provider (portable ONNX graphs).  The exit code is 1 if there is anything.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "target", metavar="BUNDLE", help="name or folder; or a file NAME.onnx, a package NAME.mlpackage"
    )
    parser.add_argument(
        "--variant", metavar="NAME", help="of the bundle's graphs (default: all that there are rules for)"
    )
    parser.add_argument("--all", action="store_true", help=f"list every place, not the first {SHOWN} of each rule")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run `lint`; 1 if anything is found."""
    from tqdm import tqdm

    from ..graphs.bundle import Bundle

    bundle = None if options.target.endswith(FILES) else Bundle.open(options.target)
    if bundle is None and options.variant:
        raise ValueError("--variant is for bundles, a file has none")
    try:
        from ..conversion.lint import NOT_LINTED, lint_bundle, lint_file, linted_variants
    except ModuleNotFoundError as error:
        raise ImportError(f"lint needs {error.name}: pip install 'etam-onnx[convert]'") from error
    names = linted_variants(bundle) if bundle else []
    if bundle and not names:
        raise ValueError(f"the bundle {options.target} has nothing to lint, its variants are {NOT_LINTED}")
    with tqdm(unit="graph", leave=False) as bar:

        def progress(step: str) -> None:
            bar.set_description_str(step, refresh=False)
            bar.update()

        wanted = [options.variant] if options.variant else names
        found = lint_bundle(bundle, wanted, progress) if bundle else lint_file(Path(options.target), progress)
        try:
            reports = list(found)
        except ModuleNotFoundError as error:
            missing = str(error.name).split(".")[0]
            extra = "convert" if missing == "onnxruntime" else "coreml"
            raise ImportError(f"lint needs {missing}: pip install 'etam-onnx[{extra}]'") from error
    print("\n".join(listed(reports, SHOWN if not options.all else None)))
    left_out = sorted(set(bundle.manifest.variants) - set(names)) if bundle and not options.variant else []
    if left_out:
        print(f"not linted: {', '.join(left_out)}, {NOT_LINTED}")
    print(summary(reports))
    return 1 if any(report.breaches for report in reports) else 0


def listed(reports: Sequence[Report], shown: int | None = SHOWN) -> Iterator[str]:
    """A table per variant, what was found below it, and the exceptions that were made.

    Args:
        shown: places of one rule in one graph, None for all.
    """
    notes = list(dict.fromkeys((f.rule.name, f.exemption) for report in reports for f in report.exempted))
    for variant, several in groupby(reports, key=lambda report: report.variant):
        group = list(several)
        yield variant
        yield from _table(group, notes)
        for report in group:
            yield from _findings(report, shown)
        yield ""
    for number, (rule, exemption) in enumerate(notes, 1):
        text = f"({number}) {rule}, except {exemption.what}: {exemption.reason}." if exemption else rule
        yield from textwrap.wrap(text, WIDTH, subsequent_indent="    ")
    if notes:
        yield ""


def summary(reports: Sequence[Report]) -> str:
    """One line about all graphs."""
    total, guilty = sum(len(report.breaches) for report in reports), sum(bool(report.breaches) for report in reports)
    graphs = f"{len(reports)} graph{'s' * (len(reports) > 1)}"
    if not total:
        return f"{graphs}: clean"
    return f"{graphs}: {total} finding{'s' * (total > 1)} in {guilty}"


def _table(reports: Sequence[Report], notes: Sequence[tuple[str, Exemption | None]]) -> Iterator[str]:
    third = "placed" if reports[0].partitions is None else "partitions"
    head = ("graph", "operators", third, "findings", "exceptions")
    rows = [head]
    for report in reports:
        made = [(f.rule.name, f.exemption) for f in report.exempted]
        rows.append(
            (
                report.graph,
                str(report.operators),
                str(report.placed if report.partitions is None else report.partitions),
                str(len(report.breaches) or "clean"),
                ", ".join(f"{made.count(note)} x ({number})" for number, note in enumerate(notes, 1) if note in made),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    for name, *numbers, exceptions in rows:
        cells = [f"{number:>{width}}" for number, width in zip(numbers, widths[1:-1], strict=True)]
        yield "  ".join(("", f"{name:<{widths[0]}}", *cells, exceptions)).rstrip()


def _findings(report: Report, shown: int | None) -> Iterator[str]:
    for rule, several in groupby(report.breaches, key=lambda finding: finding.rule):
        places = [finding.place for finding in several]
        yield from textwrap.wrap(f"  {report.graph}, {rule.name}: {rule.reason}", WIDTH, subsequent_indent="    ")
        yield from (f"    - {place}" for place in places[:shown])
        if shown is not None and len(places) > shown:
            yield f"    - and {len(places) - shown} more"
