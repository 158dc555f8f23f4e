"""Bundles small enough to write in every test: a manifest, and files that are empty or real little ONNX graphs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fake_networks import DOWNSAMPLE, DOWNSAMPLE_BIAS, tiny_geometry

from etam_onnx.graphs.bundle import file_identity
from etam_onnx.graphs.contract import Graph, Port, contract
from etam_onnx.graphs.manifest import MANIFEST, Constants, Manifest
from etam_onnx.graphs.ort_contract import Deployment, ort_contract
from etam_onnx.graphs.variants import ORT

GEOMETRY = tiny_geometry(prompted_frames=2)
GRAPHS = contract(GEOMETRY)
DEPLOYMENT = Deployment(layers=2, pool=2, memory_counts=(1, 2, 7, 8))
ORT_GRAPHS = ort_contract(GEOMETRY, DEPLOYMENT)
WEIGHTS = "portable/weights.bin"
Attributes = dict[str, Any]


def empty_files() -> dict[str, bytes]:
    """A file per graph; an empty file is a protobuf message without fields."""
    return {f"portable/{name}.onnx": b"" for name in GRAPHS}


def write_bundle(root: Path, files: Mapping[str, bytes] | None = None, variant: str = "portable") -> Path:
    """Write files and a manifest that describes them; the graphs' files are those of `empty_files`."""
    files = empty_files() if files is None else files
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    manifest = Manifest(
        model="tiny",
        geometry=GEOMETRY,
        constants=Constants((-1.0,) * GEOMETRY.width, DOWNSAMPLE, DOWNSAMPLE_BIAS),
        variants={variant: {name: f"portable/{name}.onnx" for name in GRAPHS}},
        files={name: file_identity(root / name) for name in files},
    )
    (root / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return root


def edit_manifest(root: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the manifest's JSON in place."""
    data = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
    change(data)
    (root / MANIFEST).write_text(json.dumps(data), encoding="utf-8")


def record_again(root: Path, name: str) -> None:
    """Let the manifest describe a file as it is now."""
    identity = file_identity(root / name)
    edit_manifest(root, lambda data: data["files"].update({name: {"sha256": identity.sha256, "size": identity.size}}))


def add_ort(root: Path, files: Mapping[str, bytes] | None = None) -> None:
    """Add the variant `ort` to a bundle; its files are empty unless given."""
    (root / ORT).mkdir()
    files = files or {f"{ORT}/{name}.onnx": b"" for name in ORT_GRAPHS}
    for name, content in files.items():
        (root / name).write_bytes(content)

    def change(manifest: dict[str, Any]) -> None:
        manifest["deployment"] = DEPLOYMENT.as_dict()
        manifest["variants"][ORT] = {name: f"{ORT}/{name}.onnx" for name in ORT_GRAPHS}

    edit_manifest(root, change)
    for name in files:
        record_again(root, name)


def little_model(
    graph: Graph, inputs: tuple[Port, ...] | None = None, outputs: tuple[Port, ...] | None = None, half: bool = False
) -> Any:
    """An ONNX model with the graph's edges, or others, whose outputs are constants; the mask is a half plane."""
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    kind = onnx.TensorProto.FLOAT16 if half else onnx.TensorProto.FLOAT
    inputs, outputs = inputs or graph.inputs, outputs or graph.outputs
    nodes, constants = [], []
    for port in outputs:
        value = np.linspace(-4, 4, int(np.prod(port.shape))).reshape(port.shape)
        value = np.ones(port.shape) if port.name == "presence" else value
        constants.append(
            numpy_helper.from_array(value.astype(np.float16 if half else np.float32), f"{port.name}_value")
        )
        nodes.append(helper.make_node("Identity", [f"{port.name}_value"], [port.name]))
    made = helper.make_graph(
        nodes,
        graph.name,
        [helper.make_tensor_value_info(port.name, kind, port.shape) for port in inputs],
        [helper.make_tensor_value_info(port.name, kind, port.shape) for port in outputs],
        constants,
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def store_outside(model: Any, location: str, number: int = 0) -> bytes:
    """Move the data of one constant of a model to a file; returns the data."""
    import onnx

    tensor = model.graph.initializer[number]
    data = bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(len(data)))):
        tensor.external_data.add(key=key, value=value)
    return data


def little_files() -> dict[str, bytes]:
    """Real graphs for every graph of the contract; one keeps its data in a file of its own."""
    models = {name: little_model(graph) for name, graph in GRAPHS.items()}
    data = store_outside(models["memory_encoder"], "weights.bin")
    return {f"portable/{name}.onnx": model.SerializeToString() for name, model in models.items()} | {WEIGHTS: data}
