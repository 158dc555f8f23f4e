"""Exporting a model as a bundle: graphs, weights, vectors, measured parity, manifest; all of it or nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import onnx
from torch import nn

from ..graphs.bundle import MANIFEST, file_identity
from ..graphs.contract import Graph, contract
from ..graphs.manifest import Manifest
from ..graphs.ort_contract import ort_contract
from ..graphs.variants import ORT, PORTABLE, VARIANTS, edges_of, precision_of, system_of
from ..manifest_of_model import PROMPTED_FRAMES, geometry_of, manifest_of
from ..model import EfficientTAM
from ..runtime.networks import Networks
from ..runtime.onnxruntime_backend import OnnxRuntimeBackend
from ..runtime.parity import EdgeError, replay
from ..torch_backend import torch_networks
from .coreml.descriptions import Facts
from .coreml.packages import FRAMES, write_packages
from .coreml.packages import steps as package_steps
from .coreml.toolbox import require_coremltools
from .int8 import PARTS
from .onnx_graph import ExportError, export_graph
from .ort.deployment import deployment_of
from .ort.reference import ort_calls
from .ort.wrappers import ort_graph
from .portable import portable_graph
from .precisions import in_precision
from .scenario import Call, record
from .shared_weights import share_weights
from .vectors import write_vectors

DEFAULT_VARIANTS = (PORTABLE, ORT)


@dataclass(frozen=True)
class _Plan:
    """The variants with one kind of edges: their graphs, the modules of these, the calls to measure them with.

    convert: a graph by its name in the precision of a variant; that of fp32 where the precision changes nothing.
    """

    variants: list[str]
    graphs: dict[str, Graph]
    module: Callable[[str], nn.Module]
    calls: Callable[[], list[Call]]
    convert: Callable[[onnx.ModelProto, str, str, list[Call]], onnx.ModelProto]


def _silent(step: str) -> None:
    """Progress goes nowhere."""


def export_bundle(
    model: EfficientTAM,
    output: Path,
    *,
    prompted_frames: int = PROMPTED_FRAMES,
    variants: Sequence[str] = DEFAULT_VARIANTS,
    memory_counts: Sequence[int] | None = None,
    int8_parts: Collection[str] = tuple(PARTS),
    frame: str = FRAMES[0],
    source: dict[str, Any] | None = None,
    card: dict[str, Any] | None = None,
    vectors: bool = True,
    overwrite: bool = False,
    progress: Callable[[str], None] = _silent,
) -> Manifest:
    """Write the bundle of `model` to the folder `output`.

    Args:
        model: in evaluation mode, with its weights.
        output: must not exist, unless `overwrite` and it is a bundle.
        prompted_frames: capacity of prompted frames that one frame can attend to.
        variants: of the graphs to write, of `VARIANTS`; those with the edges of `ort` share what they have in common.
        memory_counts: memory slots of the memory-attention graphs with the edges of `ort`, see `deployment_of`.
        int8_parts: what the variant `ort-int8` puts into integers, see `int8.recipe`.
        frame: how the image encoders of the variants for Core ML take a frame, of `coreml.packages.FRAMES`.
        source: where the weights come from (checkpoint hash and so on), for the manifest.
        card: licence, data and limits of the weights, for the manifest.
        vectors: also write the test vectors.
        progress: called with the name of each step.

    Raises:
        ExportError: the folder exists; there is no such variant; a graph's edges, ONNX's checker or the measured parity
            is wrong.
        ImportError: a variant is for Core ML, and coremltools is not installed or too old.
        ValueError: there is nothing of that name to put into integers, or a number of memories is not positive.
    """
    output = Path(output)
    unknown = [variant for variant in variants if variant not in VARIANTS]
    if unknown or not variants:
        raise ExportError(f"the variants are {', '.join(VARIANTS)}, found {unknown or 'none'}")
    systems = {system_of(variant) for variant in variants} - {""}
    if systems:
        require_coremltools(systems)
    geometry = geometry_of(model.config, prompted_frames)
    reads_keys = any(edges_of(variant) == ORT for variant in variants)
    deployment = deployment_of(model.config, geometry, memory_counts) if reads_keys else None
    manifest = replace(manifest_of(model, geometry), deployment=deployment, card=card or {})
    manifest = replace(manifest, source={"config": asdict(model.config), **(source or {})})
    if output.exists() and not (overwrite and (output / MANIFEST).is_file()):
        raise ExportError(
            f"{output} exists already" + (" and is not a bundle" if overwrite else "; give another name or overwrite")
        )
    if not output.parent.is_dir():
        raise ExportError(f"the folder {output.parent} does not exist")
    partial = output.parent / f".{output.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        manifest = _write(model, manifest, partial, variants, int8_parts, frame, vectors, progress)
        if output.exists():
            shutil.rmtree(output)
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _write(
    model: EfficientTAM,
    manifest: Manifest,
    root: Path,
    variants: Sequence[str],
    int8_parts: Collection[str],
    frame: str,
    vectors: bool,
    progress: Callable[[str], None],
) -> Manifest:
    """Write everything into `root`; `manifest` without what is written and measured here."""
    progress("recording the reference")
    reference = torch_networks(model, manifest.geometry)
    frames, calls, results = record(reference)
    files: list[str] = []
    written: dict[str, dict[str, str]] = {}
    parity: dict[str, list[dict[str, Any]]] = {}
    for edges in (PORTABLE, ORT):
        chosen = [v for v in variants if edges_of(v) == edges and not system_of(v)]
        plan = _plan(model, manifest, reference, calls, chosen, int8_parts)
        if plan.variants:
            names, graphs = _write_graphs(root / edges, plan, progress)
            files += names
            written |= graphs
            for variant, paths in graphs.items():
                progress(f"measuring {variant}")
                found = {name: root / path for name, path in paths.items()}
                errors = measure(found, plan.calls(), plan.graphs, precision_of(variant))
                parity[variant] = [asdict(error) for error in errors]
    packaged = [variant for variant in variants if system_of(variant)]
    if packaged:
        facts = Facts.of_card(manifest.model, manifest.card, _version())
        packages = write_packages(model, manifest.geometry, root, packaged, calls, facts, frame, progress)
        files += packages.files
        written |= packages.graphs
        manifest = replace(manifest, programs=packages.programs)
        for variant, found_errors in packages.errors.items():
            _require_tolerance(variant, found_errors)
            parity[variant] = [asdict(error) for error in found_errors]
    if vectors:
        progress("writing vectors")
        files += write_vectors(root, frames, calls, results)
    identities = {name: file_identity(root / name) for name in sorted(files)}
    manifest = replace(manifest, variants=written, files=identities, parity=parity)
    (root / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def _plan(
    model: EfficientTAM,
    manifest: Manifest,
    reference: Networks,
    calls: list[Call],
    variants: list[str],
    int8_parts: Collection[str],
) -> _Plan:
    """What to write for variants that all have the same edges."""
    geometry, deployment = manifest.geometry, manifest.deployment
    if deployment is None or PORTABLE in variants:
        return _Plan(
            variants,
            contract(geometry),
            lambda name: portable_graph(model, geometry, name),
            lambda: calls,
            lambda graph, *_: graph,
        )
    return _Plan(
        variants,
        ort_contract(geometry, deployment),
        lambda name: ort_graph(model, geometry, deployment, name),
        cache(lambda: ort_calls(model, reference, deployment, calls)),
        lambda graph, name, precision, recorded: in_precision(
            graph, name, precision, geometry.width, recorded, int8_parts
        ),
    )


def _write_graphs(
    folder: Path, plan: _Plan, progress: Callable[[str], None]
) -> tuple[list[str], dict[str, dict[str, str]]]:
    """Write the graphs of all variants of a plan and one data file for their weights.

    Edges have a folder and a data file each: ONNX Runtime refuses data outside the folder of the graph.

    Returns:
        The files, and for each variant the file of each graph, relative to the bundle.
    """
    plain = {}
    for name, graph in plan.graphs.items():
        progress(f"tracing {folder.name} {name}")
        plain[name] = export_graph(plan.module(name), graph)
    models: dict[str, onnx.ModelProto] = {}
    variants: dict[str, dict[str, str]] = {}
    for variant in plan.variants:
        precision = precision_of(variant)
        variants[variant] = {}
        for name, model in plain.items():
            converted = plan.convert(model, name, precision, plan.calls())
            same = precision == "fp32" or converted == plan.convert(model, name, "fp32", [])
            stem = name if same else f"{name}_{precision}"
            models[stem] = converted
            variants[variant][name] = f"{folder.name}/{stem}.onnx"
    folder.mkdir()
    written = share_weights(models, folder)
    for stem in models:
        check_onnx(folder / f"{stem}.onnx")
    return [f"{folder.name}/{name}" for name in written], variants


def steps(
    model: EfficientTAM,
    prompted_frames: int = PROMPTED_FRAMES,
    memory_counts: Sequence[int] | None = None,
    variants: Sequence[str] = DEFAULT_VARIANTS,
) -> int:
    """How many times `export_bundle` calls `progress`, vectors included."""
    geometry = geometry_of(model.config, prompted_frames)
    manifest = replace(manifest_of(model, geometry), deployment=deployment_of(model.config, geometry, memory_counts))
    onnx_variants = [variant for variant in variants if not system_of(variant)]
    traced = {edges_of(variant): len(manifest.graphs_of(variant)) for variant in onnx_variants}
    packaged = package_steps(len(contract(geometry)), len(variants) - len(onnx_variants))
    return sum(traced.values()) + len(onnx_variants) + packaged + 2


def _version() -> str:
    """Version of this package, empty in a checkout that is not installed."""
    try:
        return version("etam-onnx")
    except PackageNotFoundError:
        return ""


def check_onnx(path: Path) -> None:
    """ONNX's own checker with strict shape inference.

    Raises:
        ExportError: it objects.
    """
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:
        raise ExportError(f"{path.name} is not a valid ONNX model: {str(error).splitlines()[0]}") from error


def measure(
    paths: dict[str, Path], calls: list[Call], graphs: dict[str, Graph], precision: str = "fp32"
) -> list[EdgeError]:
    """Replay the recorded calls on ONNX Runtime's CPU provider.

    Args:
        precision: key of the contract's tolerances.

    Raises:
        ExportError: an output is out of tolerance.
    """
    backend = OnnxRuntimeBackend("cpu")
    runners = {name: backend.load(graphs[name], path) for name, path in paths.items()}
    errors = replay(graphs, runners, ((c.graph, c.inputs, c.outputs) for c in calls), precision)
    _require_tolerance(precision, errors)
    return errors


def _require_tolerance(where: str, errors: list[EdgeError]) -> None:
    """ExportError that names the first output that is out of tolerance."""
    for error in errors:
        if not error.passed:
            raise ExportError(
                f"{where} {error.graph}: output {error.port} differs from PyTorch by {error.error:.1e} relative, "
                f"tolerance {error.tolerance:.1e}"
            )
