"""Little ONNX graphs to quantize, and running them so that products of bytes never saturate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[np.float32]
Shapes = Mapping[str, Sequence[int]]


def graph_of(
    nodes: Sequence[onnx.NodeProto], inputs: Shapes, outputs: Shapes, constants: Mapping[str, NDArray]
) -> onnx.ModelProto:
    """A model of float32 edges."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    domains = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=domains, ir_version=9)


def run(model: onnx.ModelProto, **inputs: Array) -> list[Array]:
    """All outputs, on one thread."""
    options = ort.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")  # for processors without VNNI
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def normal(*shape: int, seed: int = 0) -> Array:
    """Normal numbers from a seed."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def measured(x: Array) -> tuple[np.float32, int]:
    """Step and zero point of ONNX's DynamicQuantizeLinear, from its definition."""
    low, high = min(x.min(), np.float32(0)), max(x.max(), np.float32(0))
    step = np.float32(np.float32(high - low) / np.float32(255))
    return step, int(np.clip(np.rint(np.float32(-low) / step), 0, 255))


def difference(found: Array, wanted: Array) -> float:
    """The largest one, relative to the largest wanted number."""
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def kinds(model: onnx.ModelProto) -> Counter[str]:
    """How often each operator is there."""
    return Counter(each.op_type for each in model.graph.node)
