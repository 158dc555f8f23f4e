"""Large channels made smaller before they are quantized, and the weights that read them larger; exact in floats.

x W = (x / s)(s W).  One scale per tensor is spent on its largest channel, while weights have a scale per output: with
s_c = max|x_c|^a / max|W_c|^(1 - a), the error is shared between both (SmoothQuant, arXiv 2211.10438, equation 4).
Division costs nothing behind a layer norm, which multiplies by a vector anyway.  s is rounded to powers of two, which
change no digit of any product.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from .linears import Linear, linears_of
from .tensor_names import TensorNames

SHARE = 0.7
"""The exponent a.  Errors of the image encoder hardly change between 0.65 and 0.8."""
Array = NDArray[np.float32]


def smooth_norms(model: onnx.ModelProto, samples: Sequence[Mapping[str, Array]]) -> onnx.ModelProto:
    """A copy of `model` whose layer norms in front of linear layers give more even channels.

    Norms are taken whose result is read by linear layers alone, each with weights of its own.  The rest stays as it is.

    Args:
        model: float32, weights inside, not in external files.
        samples: inputs that the largest numbers are measured on; channels are large in the same places on most.

    Raises:
        ValueError: there is no sample.
    """
    if not samples:
        raise ValueError("smoothing needs at least one sample to measure")
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    norms = _norms_before_linears(graph)
    largest = _largest(model, [norm.output[0] for norm, _ in norms], samples)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    names = TensorNames(graph)
    for norm, linears in norms:
        weights = np.max([np.abs(linear.matrix).max(1) for linear in linears], 0)
        divisor = _divisor(largest[norm.output[0]], weights)
        for position in range(1, len(norm.input)):  # scale and shift, which other norms may share
            values = numpy_helper.to_array(constants[norm.input[position]])
            norm.input[position] = names.fresh(f"{norm.output[0]}_smooth_{position}")
            graph.initializer.append(numpy_helper.from_array(values / divisor, norm.input[position]))
        for linear in linears:
            rows = linear.matrix * divisor[:, None]
            stored = np.ascontiguousarray(rows.T if linear.transposed else rows)
            constants[linear.weight].CopyFrom(numpy_helper.from_array(stored, linear.weight))
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    kept = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return result


def _divisor(largest: Array, weights: Array) -> Array:
    """s of equation 4 as powers of two, 1 for channels that are always zero or never read."""
    idle = (largest == 0) | (weights == 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        divisor = largest**SHARE / weights ** (1 - SHARE)
        powers = np.rint(np.log2(divisor / (np.median(divisor[~idle]) if not idle.all() else 1)))
    return np.where(idle, 1, np.exp2(powers)).astype(np.float32)


def _norms_before_linears(graph: onnx.GraphProto) -> list[tuple[onnx.NodeProto, list[Linear]]]:
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(value.name for value in graph.output)
    constants = {tensor.name for tensor in graph.initializer}
    readers: dict[str, list[Linear]] = {}
    for linear in linears_of(graph):
        if uses[linear.weight] == 1:
            readers.setdefault(linear.activation, []).append(linear)
    return [
        (node, readers[node.output[0]])
        for node in graph.node
        if node.op_type == "LayerNormalization"
        and len(readers.get(node.output[0], [])) == uses[node.output[0]] > 0
        and constants.issuperset(node.input[1:])
    ]


def _largest(
    model: onnx.ModelProto, tensors: Sequence[str], samples: Sequence[Mapping[str, Array]]
) -> dict[str, Array]:
    """Largest magnitude of each channel, the last axis, over all samples."""
    import onnxruntime

    if not tensors:
        return {}
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
    session = onnxruntime.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    found = [session.run(list(tensors), dict(sample)) for sample in samples]
    return {
        name: np.max([np.abs(one[index]).reshape(-1, one[index].shape[-1]).max(0) for one in found], 0)
        for index, name in enumerate(tensors)
    }
