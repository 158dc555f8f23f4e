"""The graphs of the small model as Core ML packages, each converted once, and what PyTorch makes of recorded inputs."""

from __future__ import annotations

import atexit
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from coreml_programs import converted_graph, ct, quietly, traced
from small_model import small_model, varied

from etam_onnx.conversion.coreml.converter import exported
from etam_onnx.conversion.coreml.forms import coreml_graph
from etam_onnx.conversion.portable import portable_graph
from etam_onnx.conversion.scenario import Call, record
from etam_onnx.graphs.contract import Graph, contract
from etam_onnx.manifest_of_model import geometry_of
from etam_onnx.model import EfficientTAM
from etam_onnx.runtime.networks import Networks
from etam_onnx.runtime.parity import on_host
from etam_onnx.torch_backend import torch_networks

_FOLDER = TemporaryDirectory(prefix="coreml-")
atexit.register(_FOLDER.cleanup)


@cache
def model() -> EfficientTAM:
    """The one of the bundles in `conftest`."""
    return varied(small_model())


GEOMETRY = geometry_of(model().config)
GRAPHS: dict[str, Graph] = contract(GEOMETRY)


@cache
def reference() -> Networks:
    """The graphs in PyTorch."""
    return torch_networks(model(), GEOMETRY)


@cache
def recorded() -> tuple[list[Any], list[Call], list[Any]]:
    """Frames, calls of every graph and results of a short clip; objects are there and are not, masks soft and hard."""
    return record(reference())


@cache
def calls_of(graph: str) -> tuple[tuple[str, Any, Any], ...]:
    """(graph, inputs, outputs) of every recorded call; for memory attention one more, with some slots and pointers
    unused, which the clip does for few counts of memories.
    """
    calls = [(call.graph, call.inputs, call.outputs) for call in recorded()[1] if call.graph == graph]
    if graph.startswith("memory_attention"):
        inputs = {name: array.copy() for name, array in calls[-1][1].items()}
        inputs["memory_row"][len(inputs["memory_row"]) // 2 + 1 :] = 0
        inputs["pointer_used"][1::2] = 0
        calls.append((graph, inputs, called(graph, inputs)))
    return tuple(calls)


def called(graph: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """What PyTorch makes of inputs."""
    outputs = reference().runners[graph](**inputs)
    return {name: np.array(on_host(value)) for name, value in outputs.items()}


@cache
def source(graph: str) -> Any:
    """A graph in the form for Core ML, exported by PyTorch as our converter takes it."""
    return exported(coreml_graph(model(), GEOMETRY, graph), GRAPHS[graph])


@cache
def _traced(graph: str) -> Any:
    return traced(portable_graph(model(), GEOMETRY, graph), GRAPHS[graph])


@cache
def package(graph: str, target: str, precision: str) -> Path:
    path = Path(_FOLDER.name) / f"{graph}.{target}.{precision}.mlpackage"
    return converted_graph(_traced(graph), GRAPHS[graph], path, target, precision)


def compressed(source: Path, compress: Any, name: str) -> Path:
    """A package with its weights compressed by a function of coremltools."""
    path = Path(_FOLDER.name) / f"{source.stem}.{name}.mlpackage"
    quietly(lambda: compress(ct.models.MLModel(str(source), skip_model_load=True)).save(str(path)))
    return path


def multifunction(names: tuple[str, ...], target: str, precision: str) -> Path:
    """Several graphs as functions of one package; the last is the default."""
    path = Path(_FOLDER.name) / "several.mlpackage"
    descriptor = ct.utils.MultiFunctionDescriptor()
    for name in names:
        source = str(package(name, target, precision))
        descriptor.add_function(source, src_function_name="main", target_function_name=name)
    descriptor.default_function_name = names[-1]
    quietly(lambda: ct.utils.save_multifunction(descriptor, str(path)))
    return path
