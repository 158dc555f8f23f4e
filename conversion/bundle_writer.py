"""Exporting a model as a bundle: graphs, weights, vectors, measured parity, manifest; all of it or nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import onnx
from torch import nn

from ..graphs.bundle import MANIFEST, file_identity
from ..graphs.contract import Geometry, Graph, contract
from ..graphs.manifest import ORT, PORTABLE, Manifest
from ..graphs.ort_contract import Deployment, ort_contract
from ..manifest_of_model import PROMPTED_FRAMES, geometry_of, manifest_of
from ..model import EfficientTAM
from ..runtime.onnxruntime_backend import OnnxRuntimeBackend
from ..runtime.parity import EdgeError, replay
from ..torch_backend import torch_networks
from .onnx_graph import ExportError, export_graph
from .ort.deployment import deployment_of
from .ort.reference import ort_calls
from .ort.wrappers import ort_graph
from .portable import portable_graph
from .scenario import Call, record
from .shared_weights import share_weights
from .vectors import write_vectors

PRECISION = "fp32"
VARIANTS = (PORTABLE, ORT)


@dataclass(frozen=True)
class _Plan:
    """One variant to write: its graphs, their modules, and the calls to measure them with."""

    graphs: dict[str, Graph]
    module: Callable[[str], nn.Module]
    calls: Callable[[], list[Call]]


def _silent(step: str) -> None:
    """Progress goes nowhere."""


def export_bundle(
    model: EfficientTAM,
    output: Path,
    *,
    prompted_frames: int = PROMPTED_FRAMES,
    variants: Sequence[str] = VARIANTS,
    memory_counts: Sequence[int] | None = None,
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
        variants: of the graphs to write, of `VARIANTS`.
        memory_counts: memory slots of the memory-attention graphs of the variant `ort`, see `deployment_of`.
        source: where the weights come from (checkpoint hash and so on), for the manifest.
        card: licence, data and limits of the weights, for the manifest.
        vectors: also write the test vectors.
        progress: called with the name of each step.

    Raises:
        ExportError: the folder exists; there is no such variant; a graph's edges, ONNX's checker or the measured parity
            is wrong.
    """
    output = Path(output)
    unknown = [variant for variant in variants if variant not in VARIANTS]
    if unknown or not variants:
        raise ExportError(f"the variants are {', '.join(VARIANTS)}, found {unknown or 'none'}")
    geometry = geometry_of(model.config, prompted_frames)
    deployment = deployment_of(model.config, geometry, memory_counts) if ORT in variants else None
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
        manifest = _write(model, manifest, partial, variants, vectors, progress)
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
    vectors: bool,
    progress: Callable[[str], None],
) -> Manifest:
    """Write everything into `root`; `manifest` without what is written and measured here."""
    geometry = manifest.geometry
    progress("recording the reference")
    reference = torch_networks(model, geometry)
    frames, calls, results = record(reference)
    plans = {PORTABLE: _Plan(contract(geometry), lambda name: portable_graph(model, geometry, name), lambda: calls)}
    deployment = manifest.deployment
    if deployment is not None:
        plans[ORT] = _ort_plan(model, geometry, deployment, lambda: ort_calls(model, reference, deployment, calls))
    files: list[str] = []
    parity: dict[str, list[dict[str, Any]]] = {}
    for variant in variants:
        written, errors = _write_variant(root / variant, plans[variant], progress)
        files += (f"{variant}/{name}" for name in written)
        parity[variant] = [asdict(error) for error in errors]
    if vectors:
        progress("writing vectors")
        files += write_vectors(root, frames, calls, results)
    manifest = replace(
        manifest,
        variants={v: {name: f"{v}/{name}.onnx" for name in manifest.graphs_of(v)} for v in variants},
        files={name: file_identity(root / name) for name in sorted(files)},
        parity=parity,
    )
    (root / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def _ort_plan(
    model: EfficientTAM, geometry: Geometry, deployment: Deployment, calls: Callable[[], list[Call]]
) -> _Plan:
    return _Plan(ort_contract(geometry, deployment), lambda name: ort_graph(model, geometry, deployment, name), calls)


def _write_variant(folder: Path, plan: _Plan, progress: Callable[[str], None]) -> tuple[list[str], list[EdgeError]]:
    """Write the graphs of one variant and one data file for their weights, and measure them.

    Each variant has its own data file: ONNX Runtime refuses data outside the folder of the graph.
    """
    models = {}
    for name, graph in plan.graphs.items():
        progress(f"tracing {folder.name} {name}")
        models[name] = export_graph(plan.module(name), graph)
    folder.mkdir()
    written = share_weights(models, folder)
    for name in plan.graphs:
        check_onnx(folder / f"{name}.onnx")
    progress(f"measuring {folder.name}")
    return written, measure({name: folder / f"{name}.onnx" for name in plan.graphs}, plan.calls(), plan.graphs)


def steps(
    model: EfficientTAM,
    prompted_frames: int = PROMPTED_FRAMES,
    memory_counts: Sequence[int] | None = None,
    variants: Sequence[str] = VARIANTS,
) -> int:
    """How many times `export_bundle` calls `progress`, vectors included."""
    geometry = geometry_of(model.config, prompted_frames)
    manifest = replace(manifest_of(model, geometry), deployment=deployment_of(model.config, geometry, memory_counts))
    return sum(len(manifest.graphs_of(variant)) + 1 for variant in variants) + 2


def check_onnx(path: Path) -> None:
    """ONNX's own checker with strict shape inference.

    Raises:
        ExportError: it objects.
    """
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:
        raise ExportError(f"{path.name} is not a valid ONNX model: {str(error).splitlines()[0]}") from error


def measure(paths: dict[str, Path], calls: list[Call], graphs: dict[str, Graph]) -> list[EdgeError]:
    """Replay the recorded calls on ONNX Runtime's CPU provider.

    Raises:
        ExportError: an output is out of tolerance.
    """
    backend = OnnxRuntimeBackend("cpu")
    runners = {name: backend.load(graphs[name], path) for name, path in paths.items()}
    errors = replay(graphs, runners, ((c.graph, c.inputs, c.outputs) for c in calls), PRECISION)
    for error in errors:
        if not error.passed:
            raise ExportError(
                f"{error.graph}: output {error.port} differs from PyTorch by {error.error:.1e} relative, "
                f"tolerance {error.tolerance:.1e}"
            )
    return errors
