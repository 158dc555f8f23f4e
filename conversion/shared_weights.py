"""Weights stored once: tensors of several ONNX models in one file beside them, in half precision where that loses
nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

INLINE = 1024
"""Tensors of fewer bytes stay inside the model file."""
ALIGNMENT = 64


def share_weights(models: Mapping[str, onnx.ModelProto], folder: Path, data_name: str = "weights.bin") -> list[str]:
    """Write ``<name>.onnx`` for every model and one data file for all of them into `folder`.

    A tensor that several models hold is stored once.  A tensor whose every value is exact in half precision is
    stored as such, behind a cast that a runtime folds when it loads the model.

    Returns:
        Names of the files written.
    """
    offsets: dict[str, tuple[int, int]] = {}
    with (folder / data_name).open("wb") as data:

        def store(raw: bytes) -> tuple[int, int]:
            key = hashlib.sha256(raw).hexdigest()
            if key not in offsets:
                data.write(b"\0" * (-data.tell() % ALIGNMENT))
                offsets[key] = (data.tell(), len(raw))
                data.write(raw)
            return offsets[key]

        for name, model in models.items():
            _externalise(model.graph, store, data_name)
            (folder / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))
    return [data_name, *(f"{name}.onnx" for name in models)]


def is_exact_in_half(values: np.ndarray) -> bool:
    """Whether half precision holds every value of a float32 array exactly."""
    with np.errstate(over="ignore"):
        return bool(np.array_equal(values.astype(np.float16).astype(np.float32), values))


def _externalise(graph: onnx.GraphProto, store: Callable[[bytes], tuple[int, int]], data_name: str) -> None:
    casts = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.nbytes < INLINE:
            inline = numpy_helper.from_array(values, tensor.name)
            tensor.CopyFrom(inline)
            continue
        name, kind = tensor.name, tensor.data_type
        if kind == onnx.TensorProto.FLOAT and is_exact_in_half(values):
            values, kind = values.astype(np.float16), onnx.TensorProto.FLOAT16
            casts.append(
                onnx.helper.make_node("Cast", [f"{name}_half"], [name], f"Cast_{name}", to=onnx.TensorProto.FLOAT)
            )
            name = f"{name}_half"
        offset, length = store(np.ascontiguousarray(values).tobytes())
        tensor.Clear()
        tensor.name, tensor.data_type = name, kind
        tensor.dims.extend(values.shape)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", data_name), ("offset", str(offset)), ("length", str(length))):
            tensor.external_data.add(key=key, value=value)
    if casts:
        nodes = [*casts, *graph.node]
        del graph.node[:]
        graph.node.extend(nodes)
