"""One rewriting as data: a name, the identity behind it, and the two forms of the same function that are timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
from numpy.typing import NDArray
from torch import Tensor, nn

from ..ort.written_attention import write_out_attention

if TYPE_CHECKING:
    from .subject import Subject

Array = NDArray[np.float32]
Rewrite = Callable[[onnx.ModelProto], onnx.ModelProto]
Reading = Callable[[Sequence[Sequence[Array]]], Sequence[Array]]

UNDONE = "whole graph"
"""The deployed graph against the same graph with this one rewriting undone."""
EXACT = 1e-5
"""Largest relative difference between two float32 forms of the same function: the contract's tolerance."""
ANSWER_UNITS = (1.0, 1.0, 0.0, 1.0)
"""Of what a decoder gives: logits, predicted IoU, pointers and presence; as in the contract."""


class NotHereError(ValueError):
    """A model has nothing that a rewriting could change, said in a few words."""


@dataclass(frozen=True)
class Step:
    """One graph and what it is called with.

    inputs: by name, in the order of the module's arguments.  rewrite: what is done to the graph after its export.
    """

    module: nn.Module
    inputs: Mapping[str, Tensor]
    rewrite: Rewrite | None = None


def last(outputs: Sequence[Sequence[Array]]) -> Sequence[Array]:
    """What the last graph gave."""
    return outputs[-1]


@dataclass(frozen=True)
class Form:
    """One way to compute something: graphs that are called one after another.

    read: from the outputs of every step, what is compared, in an order and layout that both forms of a pair share.
    """

    steps: tuple[Step, ...]
    read: Reading = last


Pair = tuple[Form, Form]
"""Without and with."""


@dataclass(frozen=True)
class Rewriting:
    """One row of the table.

    name: for ``--only``.  identity: a sentence why both forms are the same function, or what is rounded.  where: the
    graphs the forms are parts of.  scope: what is timed.  build: the pair for one model; raises `NotHereError`.
    per_frame: how often both forms run per tracked frame of one object, 0 where no such frame does.  tolerance: largest
    relative difference that is no mistake.  units: differences of an output are measured against its largest value or
    this, whichever is larger, in order; 0 for those not named.
    """

    name: str
    identity: str
    where: str
    build: Callable[[Subject], Pair]
    scope: str = UNDONE
    per_frame: float = 1.0
    tolerance: float = EXACT
    units: tuple[float, ...] = ()


def form(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    rewrite: Rewrite | None = write_out_attention,
    read: Reading = last,
) -> Form:
    """A form of one graph, by default with what is done to every graph of `ort` that is deployed in float32."""
    return Form((Step(module, inputs, rewrite=rewrite),), read)
