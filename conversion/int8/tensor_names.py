"""Names that a graph does not use yet, and static shapes of the ones it does."""

from __future__ import annotations

from collections.abc import Collection

import onnx


class TensorNames:
    """The names of the tensors of one graph."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.taken = {tensor.name for tensor in graph.initializer} | {value.name for value in graph.input}
        self.taken.update(name for node in graph.node for name in node.output)

    def fresh(self, name: str) -> str:
        """`name`, with underscores behind it as long as it is taken; taken from now on."""
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name


def shapes_of(model: onnx.ModelProto, names: Collection[str]) -> dict[str, tuple[int, ...]]:
    """Shapes of tensors, as ONNX Runtime infers them, which knows its own operators.

    Raises:
        ValueError: a shape is not static.
    """
    import onnxruntime

    if not names:
        return {}
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(set(names)))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
    shapes = {value.name: tuple(value.shape) for value in session.get_outputs()}
    for name, shape in shapes.items():
        if not all(isinstance(size, int) for size in shape):
            raise ValueError(f"{model.graph.name}: the shape {shape} of {name} is not static")
    return shapes
