"""The rewritings of the graphs that write a memory."""

from __future__ import annotations

from torch import nn

from .memory_undone import ChannelsFirst, KeysPooledLast, SeparateProjections, memory_encoder_without
from .rewriting import NotHereError, Pair, Rewriting, form
from .subject import Subject

ENCODER, KEYS = "memory_encoder", "memory_keys"


def _without(subject: Subject, undone: nn.Module, graph: str = ENCODER) -> Pair:
    inputs = subject.inputs(graph)
    return form(undone.eval(), inputs), form(subject.module(graph), inputs)


def _rows(subject: Subject) -> Pair:
    inputs = subject.inputs(ENCODER)
    return form(ChannelsFirst(subject.model).eval(), inputs), form(SeparateProjections(subject.model).eval(), inputs)


def _pooled_first(subject: Subject) -> Pair:
    if not subject.pools:
        raise NotHereError("it does not pool")
    return _without(subject, KeysPooledLast(subject), KEYS)


REWRITINGS = (
    Rewriting(
        "signed-mask",
        "20 sigmoid(x) - 10 = 10 tanh(x / 2), and a steep tanh is the threshold: no factors and no choice of two masks",
        ENCODER,
        lambda subject: _without(subject, memory_encoder_without(subject.model, "signed mask")),
    ),
    Rewriting(
        "centred-norms",
        "the mean that a norm subtracts is linear in its convolution, so it is taken off the weights",
        ENCODER,
        lambda subject: _without(subject, memory_encoder_without(subject.model, "centred norms")),
    ),
    Rewriting(
        "pointwise-rows",
        "1x1 convolutions are products of rows, and norms over channels are norms of rows",
        ENCODER,
        _rows,
        scope="whole graph, both without joined-projection",
    ),
    Rewriting(
        "joined-projection",
        "(x + g (h W + b)) Wo = x Wo + h (W g Wo) + ...: the last block goes straight to the memory's width",
        ENCODER,
        lambda subject: _without(subject, SeparateProjections(subject.model)),
    ),
    Rewriting(
        "pooled-before-projected",
        "mean and differences of a 2x2 window are projected and turned, a quarter of the tokens",
        KEYS,
        _pooled_first,
    ),
)
