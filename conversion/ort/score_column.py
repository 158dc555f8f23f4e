"""A bias on the scores of attention as one more column: q k^T + b = [q, 1] [k, b]^T.

A bias as an input of its own would take the operator off its tiled path.  The weight w of a key that stands for w
tokens is the bias log w; a key that must not be read has a bias that leaves nothing of it after the softmax, whatever
it holds.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...graphs.contract import Geometry
from ...graphs.ort_contract import Deployment, ort_contract
from .projection import LinearMap

MASKED = -1e4
"""Bias of keys that are not read: an exact zero after the softmax in single precision, finite in half."""


def edge_columns(geometry: Geometry, deployment: Deployment, graph: str, port: str) -> int:
    """Columns that a port has beyond the model's width, by the contract: room for the bias, or none."""
    found = ort_contract(geometry, deployment)[graph]
    shapes = {p.name: p.shape for p in (*found.inputs, *found.outputs)}
    return shapes[port][-1] - geometry.width


def with_ones(linear: LinearMap, columns: int) -> LinearMap:
    """The map with `columns` more outputs: a one, then zeros (some devices like widths that 8 divides)."""
    more = linear.bias.new_zeros(columns)
    more[:1] = 1
    rows = linear.weight.new_zeros(columns, linear.weight.shape[1])
    return LinearMap(torch.cat((linear.weight, rows)), torch.cat((linear.bias, more)))


def column_of(bias: Tensor, columns: int) -> Tensor:
    """A bias (..., 1) as `columns` columns of keys: the bias, then zeros."""
    return bias if columns == 1 else torch.cat((bias, bias.new_zeros(*bias.shape[:-1], columns - 1)), -1)
