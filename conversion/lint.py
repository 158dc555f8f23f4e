"""What would split ONNX Runtime's Core ML partition or leave the Neural Engine, graph by graph.

Looks at portable ONNX graphs and at Core ML packages, of a bundle or on their own.  Graphs that are written for ONNX
Runtime's own operators are for CPUs and CUDA and are not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from ..graphs.bundle import Bundle
from ..graphs.package_files import SUFFIX
from ..graphs.variants import COREML, ORT, edges_of, system_of
from . import portable_rules
from .coreml import rules as coreml_rules
from .coreml.linted_function import LintedFunction, linted_functions
from .portable_rules import InferredGraph
from .rules import Finding

ONNX_SUFFIX = ".onnx"
NOT_LINTED = "written for ONNX Runtime's own operators, for CPUs and CUDA"
"""Why a variant has no rules."""
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Report:
    """What was found in one graph.

    variant: of the bundle, or the name of the file.  operators: how many it has, constants not counted.  partitions: of
    ONNX Runtime's Core ML provider, None for Core ML itself.  placed: operators that the lists keep on the Neural
    Engine, None for ONNX.
    """

    variant: str
    graph: str
    operators: int
    partitions: int | None
    placed: int | None
    findings: tuple[Finding, ...]

    @property
    def breaches(self) -> tuple[Finding, ...]:
        """Those that no exception covers."""
        return tuple(finding for finding in self.findings if finding.exemption is None)

    @property
    def exempted(self) -> tuple[Finding, ...]:
        """Those that one covers."""
        return tuple(finding for finding in self.findings if finding.exemption is not None)


def linted_variants(bundle: Bundle) -> list[str]:
    """Names of a bundle's variants that there are rules for, ONNX first."""
    names = sorted(bundle.manifest.variants, key=lambda name: (name.startswith(COREML), name))
    return [name for name in names if _has_rules(name)]


def lint_bundle(bundle: Bundle, variants: Iterable[str], progress: Progress = lambda step: None) -> Iterator[Report]:
    """Reports of every graph of some variants, each as soon as it is known.

    Raises:
        BundleError: there is no such variant; a file is missing or damaged.
        ValueError: a variant has no rules; a file is no graph.
        ImportError, ProgramError: what reads graphs is not installed.
    """
    for variant in variants:
        paths = bundle.graph_paths(variant)
        if not _has_rules(variant):
            raise ValueError(f"there are no rules for the variant {variant!r}: it is {NOT_LINTED}")
        opened: dict[Path, dict[str, LintedFunction]] = {}
        for graph, path in paths.items():
            progress(f"{variant} {graph}")
            if path.suffix != SUFFIX:
                yield _onnx_report(path, variant, graph)
                continue
            if path not in opened:
                opened[path] = linted_functions(path, system_of(variant))
            name = bundle.manifest.programs[variant][graph].function
            if name not in opened[path]:
                raise ValueError(f"{path} has no function {name!r}, which {graph} should be")
            yield _coreml_report(opened[path][name], variant, graph)


def lint_file(path: Path, progress: Progress = lambda step: None) -> Iterator[Report]:
    """The report of an ONNX file, or of every function of a package.

    Raises:
        FileNotFoundError: it does not exist.
        ValueError: it is neither.
        ImportError, ProgramError: what reads it is not installed.
    """
    progress(path.name)
    if path.suffix == ONNX_SUFFIX:
        yield _onnx_report(path, path.name, path.stem)
        return
    for name, function in linted_functions(path).items():
        yield _coreml_report(function, path.name, name)


def _has_rules(variant: str) -> bool:
    return edges_of(variant) != ORT


def _onnx_report(path: Path, variant: str, graph: str) -> Report:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        subject = InferredGraph(onnx.load(path, load_external_data=False))
    except (DecodeError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ValueError(f"{path} is not an ONNX model, or a damaged one") from error
    if not subject.graph.node:
        raise ValueError(f"{path} is not an ONNX model, or one without operators")
    found = tuple(portable_rules.linted(subject))
    return Report(variant, graph, len(subject.graph.node), subject.partitions[0], None, found)


def _coreml_report(subject: LintedFunction, variant: str, graph: str) -> Report:
    found, placed = tuple(coreml_rules.linted(subject)), coreml_rules.placed(subject)
    return Report(variant, graph, subject.size, None, placed, found)
