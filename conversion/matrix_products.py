"""Graphs of nothing but float32 matrix products, with which the speed of a machine is measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

INPUT, OUTPUT = "x", "first_row"
IR_VERSION, OPSET = 8, 17


@dataclass(frozen=True)
class Chain:
    """`count` products in a row: (rows, narrow) x (narrow, wide), that x (wide, narrow), and so on."""

    rows: int
    narrow: int
    wide: int
    count: int

    @property
    def name(self) -> str:
        """The first product."""
        return f"({self.rows}, {self.narrow}) x ({self.narrow}, {self.wide})"

    @property
    def multiply_adds(self) -> int:
        """Of one call."""
        return self.rows * self.narrow * self.wide * self.count

    def model(self) -> onnx.ModelProto:
        """As a graph from `INPUT` (rows, narrow) to `OUTPUT`, the last product's first row.

        Only a row is given back, so that copying takes no time.  Weights are constants, as in the graphs of a bundle,
        and scaled so that numbers neither grow nor fade.
        """
        random = np.random.default_rng(0)
        sides = (self.narrow, self.wide)
        weights = []
        for index in range(2):
            inner, columns = sides[index], sides[1 - index]
            values = random.standard_normal((inner, columns), np.float32) / np.float32(inner**0.5)
            weights.append(numpy_helper.from_array(values, f"weight_{index}"))
        first = [numpy_helper.from_array(np.array([bound]), name) for name, bound in (("zero", 0), ("one", 1))]
        names = [INPUT, *(f"product_{index}" for index in range(self.count))]
        nodes = [
            helper.make_node("MatMul", [names[index], f"weight_{index % 2}"], [names[index + 1]])
            for index in range(self.count)
        ]
        nodes.append(helper.make_node("Slice", [names[-1], "zero", "one", "zero"], [OUTPUT]))
        graph = helper.make_graph(
            nodes,
            "matrix_products",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, (self.rows, self.narrow))],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, (1, sides[self.count % 2]))],
            [*weights, *first],
        )
        return helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)])


CHAINS = (Chain(1024, 192, 768, 12), Chain(1024, 1024, 1024, 2))
"""A layer of a small transformer and back, and a square: some 4 GFLOP a call, so that starting it does not count."""
