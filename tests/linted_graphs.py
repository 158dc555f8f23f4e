"""Small ONNX graphs for lint: a clean one, and for every rule one that breaks it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


@dataclass(frozen=True)
class Breach:
    """Nodes that are added to a clean graph with the input x.

    given: further inputs, by name the element type and shape.  stored: constants.  shape: of x.  also: names of other
    rules that cannot but be broken as well.
    """

    nodes: Sequence[onnx.NodeProto]
    given: tuple[tuple[str, int, tuple[int | str, ...]], ...] = ()
    stored: tuple[tuple[str, np.ndarray], ...] = ()
    shape: tuple[int | str, ...] = (1, 4, 8, 8)
    also: tuple[str, ...] = ()


def node(kind: str, *inputs: str, **attributes: object) -> onnx.NodeProto:
    """A node with one result, called y."""
    return helper.make_node(kind, inputs, ["y"], "bad", **attributes)


def clean_graph() -> onnx.ModelProto:
    """x plus a constant that is stored in half precision."""
    return graph_with(Breach([]))


def graph_with(breach: Breach) -> onnx.ModelProto:
    """The clean graph and what breaks a rule beside it."""
    nodes = [
        helper.make_node("Cast", ["half"], ["full"], "widen", to=FLOAT),
        helper.make_node("Add", ["x", "full"], ["sum"], "plus"),
        *breach.nodes,
    ]
    inputs = [helper.make_tensor_value_info("x", FLOAT, breach.shape)]
    inputs += [helper.make_tensor_value_info(*given) for given in breach.given]
    stored = [("half", np.ones(1, np.float16)), *breach.stored]
    graph = helper.make_graph(
        nodes,
        "graph",
        inputs,
        [helper.make_tensor_value_info("sum", FLOAT, breach.shape)],
        [numpy_helper.from_array(array, name) for name, array in stored],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    )


def _branch(value: float) -> onnx.GraphProto:
    constant = helper.make_node("Constant", [], ["z"], value=numpy_helper.from_array(np.float32(value)))
    return helper.make_graph([constant], "branch", [], [helper.make_tensor_value_info("z", FLOAT, ())])


_WIDE = ("w", np.zeros((4, 4, 15, 15), np.float32))
_PARTITION = "one Core ML partition"
_FLOATS = "floats between nodes"
BREACHES = {
    "static shapes": Breach([], shape=("batch", 4, 8, 8)),
    "rank at most 4": Breach([node("Relu", "v")], given=(("v", FLOAT, (1, 2, 2, 2, 2)),)),
    "no dimension above 16384": Breach([node("Relu", "v")], given=(("v", FLOAT, (1, 16385)),)),
    "no kernel wider than 13": Breach([node("Conv", "x", "w", pads=[7] * 4, kernel_shape=[15, 15])], stored=(_WIDE,)),
    "no selection by index or comparison": Breach(
        [node("Gather", "x", "i")], stored=(("i", np.array([0])),), also=(_PARTITION,)
    ),
    "no control flow": Breach(
        [node("If", "flag", then_branch=_branch(1), else_branch=_branch(2))],
        given=(("flag", BOOL, (1,)),),
        also=(_PARTITION, _FLOATS),
    ),
    "no padding, copies or computed sizes": Breach(
        [node("Pad", "x", "p")], stored=(("p", np.array([0] * 6 + [1, 1])),), also=(_PARTITION,)
    ),
    "no Reciprocal": Breach([node("Reciprocal", "x")]),
    "standard operators only": Breach(
        [helper.make_node("QuickGelu", ["x"], ["y"], "bad", domain="com.microsoft")], also=("static shapes",)
    ),
    "constant shapes, slices and splits": Breach(
        [node("Slice", "x", "start", "end")],
        given=(("start", INT64, (1,)),),
        stored=(("end", np.array([1])),),
        also=("static shapes", _FLOATS),
    ),
    "constant weights": Breach([node("Conv", "x", "v", pads=[1] * 4)], given=(("v", FLOAT, (4, 4, 3, 3)),)),
    "pooling of planes": Breach([node("AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)]),
    "floats between nodes": Breach([node("Add", "n", "n")], given=(("n", INT64, (4,)),)),
    "no casts": Breach([node("Cast", "x", to=TensorProto.FLOAT16)]),
    "one Core ML partition": Breach([node("Det", "v")], given=(("v", FLOAT, (2, 2)),)),
}
"""By the name of the rule."""
