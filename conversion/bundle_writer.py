"""Exporting a model as a bundle: graphs, weights, vectors, measured parity, manifest; all of it or nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import onnx

from ..graphs.bundle import MANIFEST, file_identity
from ..graphs.contract import Graph, contract
from ..graphs.manifest import Manifest
from ..manifest_of_model import PROMPTED_FRAMES, geometry_of, manifest_of
from ..model import EfficientTAM
from ..runtime.onnxruntime_backend import OnnxRuntimeBackend
from ..runtime.parity import EdgeError, replay
from ..torch_backend import torch_networks
from .onnx_graph import ExportError, export_graph
from .portable import portable_graph
from .scenario import Call, record
from .shared_weights import share_weights
from .vectors import write_vectors

PORTABLE = "portable"
PRECISION = "fp32"


def _silent(step: str) -> None:
    """Progress goes nowhere."""


def export_bundle(
    model: EfficientTAM,
    output: Path,
    *,
    prompted_frames: int = PROMPTED_FRAMES,
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
        source: where the weights come from (checkpoint hash and so on), for the manifest.
        card: licence, data and limits of the weights, for the manifest.
        vectors: also write the test vectors.
        progress: called with the name of each step.

    Raises:
        ExportError: the folder exists; a graph's edges, ONNX's checker or the measured parity is wrong.
    """
    output = Path(output)
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
        manifest = _write(model, partial, prompted_frames, source or {}, card or {}, vectors, progress)
        if output.exists():
            shutil.rmtree(output)
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _write(
    model: EfficientTAM,
    root: Path,
    prompted_frames: int,
    source: dict[str, Any],
    card: dict[str, Any],
    vectors: bool,
    progress: Callable[[str], None],
) -> Manifest:
    geometry = geometry_of(model.config, prompted_frames)
    graphs = contract(geometry)
    progress("recording the reference")
    frames, calls, results = record(torch_networks(model, geometry))

    models = {}
    for name, graph in graphs.items():
        progress(f"tracing {name}")
        models[name] = export_graph(portable_graph(model, geometry, name), graph)
    folder = root / PORTABLE
    folder.mkdir()
    files = [f"{PORTABLE}/{name}" for name in share_weights(models, folder)]
    for name in graphs:
        check_onnx(folder / f"{name}.onnx")

    progress("measuring parity")
    errors = measure({name: folder / f"{name}.onnx" for name in graphs}, calls, graphs)
    if vectors:
        progress("writing vectors")
        files += write_vectors(root, frames, calls, results)
    manifest = replace(
        manifest_of(model, geometry),
        variants={PORTABLE: {name: f"{PORTABLE}/{name}.onnx" for name in graphs}},
        files={name: file_identity(root / name) for name in sorted(files)},
        parity={PORTABLE: [asdict(error) for error in errors]},
        source={"config": asdict(model.config), **source},
        card=card,
    )
    (root / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def steps(model: EfficientTAM, prompted_frames: int = PROMPTED_FRAMES) -> int:
    """How many times `export_bundle` calls `progress`, vectors included."""
    return len(contract(geometry_of(model.config, prompted_frames))) + 3


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
