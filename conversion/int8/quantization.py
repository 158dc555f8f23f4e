"""The pass that puts chosen linear layers of a graph into integers.

x W + b becomes s_x s_W ((x_q - z) W_q) + b: every activation is measured and rounded to unsigned bytes when the graph
runs (one scale s_x and zero point z per tensor, ONNX's DynamicQuantizeLinear), once however many layers read it;
weights are signed bytes with one scale per output channel; products are added up exactly in 32 bits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from .channels import quantize_channels
from .data_movement import source_before_movement
from .execution_order import in_execution_order
from .linears import Linear, linears_of
from .tensor_names import TensorNames

DOMAIN = "com.microsoft"
LONGEST = (2**31 - 1) // (255 * 127)
"""Products that a sum in 32 bits always holds."""

PIXELS = {"image": (1.0, 0)}
"""Steps and zero points that are known: video frames hold whole numbers 0..255, which are bytes already."""

Chosen = Callable[[str, NDArray[np.float32]], bool] | Collection[str]
Known = Mapping[str, tuple[float, int]]


def quantize_linears(model: onnx.ModelProto, chosen: Chosen, known: Known = PIXELS) -> onnx.ModelProto:
    """A copy of `model` in which the chosen linear layers are computed in integers; equal input gives equal bytes.

    Args:
        model: float32 or partly quantized already, weights inside, not in external files.
        chosen: names of weights; or a function that is asked with the name and the (K, N) matrix of each layer that can
            be quantized.
        known: step and zero point, 0..255, of tensors that need not be measured, by their name in the graph.

    Raises:
        ValueError: a chosen name is not the weight of a layer that can be quantized, a weight is not finite, weights
            are in external files, or a node holds a graph of its own.
    """
    for node in model.graph.node:
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise ValueError(f"{model.graph.name}: {node.op_type} holds a graph, and only plain graphs are quantized")
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise ValueError(f"{model.graph.name}: the weights should be loaded before they are quantized")
    result = onnx.ModelProto()
    result.CopyFrom(model)
    linears = _selected(linears_of(result.graph), chosen)
    if linears:
        _Rewriting(result.graph, known).apply(linears)
        if not any(entry.domain == DOMAIN for entry in result.opset_import):
            result.opset_import.add(domain=DOMAIN, version=1)
    return result


def _selected(linears: list[Linear], chosen: Chosen) -> list[Linear]:
    linears = [linear for linear in linears if len(linear.matrix) <= LONGEST]
    if callable(chosen):
        return [linear for linear in linears if chosen(linear.weight, linear.matrix)]
    missing = sorted(set(chosen) - {linear.weight for linear in linears})
    if missing:
        raise ValueError(
            f"{missing[0]} cannot be quantized: it is not the constant float32 (K, N) matrix, K at most {LONGEST}, "
            "of a MatMul or of a Gemm that neither scales nor transposes its input"
        )
    return [linear for linear in linears if linear.weight in chosen]


class _Rewriting:
    """New nodes and constants of one graph, collected before any is put in place."""

    def __init__(self, graph: onnx.GraphProto, known: Known) -> None:
        self.graph, self.known = graph, known
        self.fresh = TensorNames(graph).fresh
        self.behind: dict[str, list[onnx.NodeProto]] = {}  # by the tensor behind whose producer they come
        self.quantized: dict[str, tuple[str, str, str]] = {}  # source -> bytes, scale, zero point
        self.weights: dict[tuple[str, bool], tuple[onnx.TensorProto, ...]] = {}
        self.constants: list[onnx.TensorProto] = []
        self.replaced: set[int] = set()

    def apply(self, linears: list[Linear]) -> None:
        readers = Counter(linear.activation for linear in linears)
        activations = {name: self.activation(name, count) for name, count in readers.items()}
        products = {linear.nodes[-1]: self.product(linear, activations[linear.activation]) for linear in linears}
        self.replaced.update(index for linear in linears for index in linear.nodes)
        roots = (*self.graph.input, *self.graph.initializer)
        nodes = [made for root in roots for made in self.behind.get(root.name, [])]
        for index, node in enumerate(self.graph.node):
            kept = products.get(index, []) if index in self.replaced else [node]
            nodes += kept
            nodes += [made for one in kept for name in one.output for made in self.behind.get(name, [])]
        self.put(nodes)

    def activation(self, name: str, readers: int) -> tuple[str, str, str]:
        """Names of the bytes, scale and zero point of a tensor."""
        source, path = source_before_movement(self.graph, name, readers)
        if source not in self.quantized:
            parts = (self.fresh(f"{source}_bytes"), self.fresh(f"{source}_scale"), self.fresh(f"{source}_zero"))
            if source in self.known:
                step, zero_point = self.known[source]
                self.constants += [
                    numpy_helper.from_array(np.array(step, np.float32), parts[1]),
                    numpy_helper.from_array(np.array(zero_point, np.uint8), parts[2]),
                ]
                node = helper.make_node("QuantizeLinear", [source, *parts[1:]], [parts[0]], f"quantize_{parts[0]}")
            else:
                node = helper.make_node("DynamicQuantizeLinear", [source], parts, f"quantize_{parts[0]}")
            self.quantized[source], self.behind[source] = parts, [node]
        current, scale, zero = self.quantized[source]
        for index in path:
            moved = onnx.NodeProto()
            moved.CopyFrom(self.graph.node[index])
            moved.input[0] = current
            current = moved.output[0] = self.fresh(f"{moved.output[0]}_bytes")
            self.behind[source].append(moved)
            self.replaced.add(index)
        return current, scale, zero

    def product(self, linear: Linear, activation: tuple[str, str, str]) -> list[onnx.NodeProto]:
        """The nodes of one layer."""
        key = (linear.weight, linear.transposed)
        if key not in self.weights:
            values, scale = quantize_channels(linear.matrix)
            self.weights[key] = (
                numpy_helper.from_array(np.ascontiguousarray(values), self.fresh(f"{linear.weight}_bytes")),
                numpy_helper.from_array(scale, self.fresh(f"{linear.weight}_scale")),
                numpy_helper.from_array(np.zeros((), np.int8), self.fresh(f"{linear.weight}_zero")),
            )
        weight, weight_scale, weight_zero = (tensor.name for tensor in self.weights[key])
        data, scale_name, zero = activation
        output = linear.output if linear.added is None else self.fresh(f"{linear.output}_product")
        inputs = [data, weight, scale_name, weight_scale, zero, weight_zero]
        inputs += [] if linear.bias is None else [linear.bias]
        nodes = [helper.make_node("MatMulIntegerToFloat", inputs, [output], f"integer_{output}", domain=DOMAIN)]
        if linear.added is not None:
            nodes.append(helper.make_node("Add", [output, linear.added], [linear.output], f"add_{linear.output}"))
        return nodes

    def put(self, nodes: list[onnx.NodeProto]) -> None:
        """Replace the nodes, and drop constants and shapes of tensors that are gone."""
        used = {name for node in nodes for name in (*node.input, *node.output)}
        used.update(value.name for value in self.graph.output)
        made = self.constants + [tensor for parts in self.weights.values() for tensor in parts]
        new = onnx.GraphProto()
        new.node.extend(in_execution_order(nodes))
        new.initializer.extend([tensor for tensor in self.graph.initializer if tensor.name in used] + made)
        new.value_info.extend(value for value in self.graph.value_info if value.name in used)
        for field in ("node", "initializer", "value_info"):
            self.graph.ClearField(field)
        self.graph.MergeFrom(new)
