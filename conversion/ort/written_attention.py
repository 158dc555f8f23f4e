"""Attention of one head written out as products and a softmax, for ONNX Runtime's CPU provider.

The fused operator hands its threads whole blocks of queries, as large as its caches allow.  One head with few queries
has few blocks, of uneven size: 576 queries are 256, 256 and 64, and of two threads one does eight ninths of the work.
A product by itself is divided evenly.  With several heads or many queries there are blocks enough, and the scores,
which the operator keeps in its tiles, would have to go through memory.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..int8.tensor_names import TensorNames, shapes_of
from .operators import DOMAIN

MOST = 2**23
"""Scores of a node beyond which it stays fused."""
CHUNK = 2**21
"""Scores of the queries that are taken at a time, so that they stay in the caches between product and softmax."""


def write_out_attention(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` in which attention of one head is written out; `model` itself if it has none.

    Only ``com.microsoft`` MultiHeadAttention with queries (1, N, D), keys (1, M, D), values (1, M, Dv) and nothing else
    is taken, with at most `MOST` scores N M.  Equal input gives equal bytes.

    Args:
        model: of static shapes, weights inside, not in external files.

    Raises:
        ValueError: a shape is not static.
    """
    nodes = {node.name: node for node in model.graph.node if _is_plain(node)}
    shapes = shapes_of(model, [name for node in nodes.values() for name in node.input[:2]])
    sizes = {name: (*shapes[node.input[0]][:2], shapes[node.input[1]][1]) for name, node in nodes.items()}
    taken = {name: (n, m) for name, (batch, n, m) in sizes.items() if batch == 1 and n * m <= MOST}
    if not taken:
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    names = TensorNames(result.graph)
    written: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    for node in model.graph.node:
        if node.name in taken:
            written += _products(node, *taken[node.name], names, constants)
        else:
            written.append(node)
    result.graph.ClearField("node")
    result.graph.node.extend(written)
    result.graph.initializer.extend(constants)
    return result


def _is_plain(node: onnx.NodeProto) -> bool:
    options = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return (
        node.domain == DOMAIN
        and node.op_type == "MultiHeadAttention"
        and len([name for name in node.input if name]) == len(node.input[:3]) == 3
        and options.keys() == {"num_heads", "scale"}
        and options["num_heads"] == 1
    )


def _products(
    node: onnx.NodeProto, queries: int, keys: int, names: TensorNames, constants: list[onnx.TensorProto]
) -> list[onnx.NodeProto]:
    """The nodes in place of one; constants that they need are added to the list."""
    q, k, v = node.input
    out = node.output[0]
    scale = next(attribute.f for attribute in node.attribute if attribute.name == "scale")
    chunks = -(-queries * keys // CHUNK)
    rows = -(-queries // chunks)
    sizes = [min(rows, queries - start) for start in range(0, queries, rows)]
    parts, results = [q], [out]
    made = []
    if len(sizes) > 1:
        parts = [names.fresh(f"{out}_queries_{i}") for i in range(len(sizes))]
        results = [names.fresh(f"{out}_rows_{i}") for i in range(len(sizes))]
        constants.append(numpy_helper.from_array(np.array(sizes), names.fresh(f"{out}_sizes")))
        made.append(helper.make_node("Split", [q, constants[-1].name], parts, f"{node.name}_split", axis=1))
    for i, (part, result) in enumerate(zip(parts, results, strict=True)):
        scores, weights = (names.fresh(f"{out}_{kind}_{i}") for kind in ("scores", "weights"))
        made += [
            helper.make_node(
                "FusedMatMul", [part, k], [scores], f"{node.name}_scores_{i}", domain=DOMAIN, transB=1, alpha=scale
            ),
            helper.make_node("Softmax", [scores], [weights], f"{node.name}_softmax_{i}", axis=-1),
            helper.make_node("MatMul", [weights, v], [result], f"{node.name}_read_{i}"),
        ]
    if len(results) > 1:
        made.append(helper.make_node("Concat", results, [out], f"{node.name}_join", axis=1))
    return made
