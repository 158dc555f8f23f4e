"""Bundles whose graphs mix everything they are given: a tensor that is stale, swapped or overwritten changes masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tiny_bundle import GRAPHS, ORT_GRAPHS, add_ort, write_bundle

from etam_onnx.graphs.contract import Graph


def mixing_model(graph: Graph) -> Any:
    """An ONNX model with the graph's edges: outputs are patterns plus others times a weighted sum of inputs."""
    import onnx
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(len(graph.name))
    nodes, constants, sums = [], [], []

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(value.astype(np.float32), name))
        return name

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    for port in graph.inputs:
        weight = rng.normal(size=port.shape) / (100 if port.name == "image" else 1)
        weighted = node("Mul", [port.name, constant(f"{port.name}_weight", weight)], f"{port.name}_weighted")
        sums.append(node("ReduceMean", [weighted], f"{port.name}_sum", keepdims=0))
    total = node("Sin", [node("Sum", sums, "sum")], "total")
    for port in graph.outputs:
        size = int(np.prod(port.shape))
        pattern = np.ones(port.shape) if port.name == "presence" else np.linspace(-4, 4, size).reshape(port.shape)
        slope = np.zeros(port.shape) if port.name == "presence" else rng.normal(size=port.shape)
        moved = node("Mul", [total, constant(f"{port.name}_slope", slope)], f"{port.name}_moved")
        node("Add", [moved, constant(f"{port.name}_pattern", pattern)], port.name)
    made = helper.make_graph(
        nodes,
        graph.name,
        [helper.make_tensor_value_info(port.name, onnx.TensorProto.FLOAT, port.shape) for port in graph.inputs],
        [helper.make_tensor_value_info(port.name, onnx.TensorProto.FLOAT, port.shape) for port in graph.outputs],
        constants,
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def write_mixing_bundle(root: Path) -> Path:
    """A bundle of such graphs, portable ones and those of the variant `ort`."""

    def files(folder: str, graphs: dict[str, Graph]) -> dict[str, bytes]:
        return {f"{folder}/{name}.onnx": mixing_model(graph).SerializeToString() for name, graph in graphs.items()}

    write_bundle(root, files("portable", GRAPHS))
    add_ort(root, files("ort", ORT_GRAPHS))
    return root
