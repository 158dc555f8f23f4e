"""The rewritings of the decoder of tracked frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import nn

from .decoder_undone import (
    EveryMask,
    MapUpscaling,
    ProjectedDecoder,
    PromptedFirstBlock,
    SeparateHeads,
    output_tokens,
)
from .rewriting import ANSWER_UNITS, Array, Form, Pair, Rewriting, form
from .subject import Subject

GRAPH = "tracked_decoder"


def best_alternative(outputs: Sequence[Sequence[Array]]) -> list[Array]:
    """What tracking takes of the four masks, IoU, pointers and presence that the last graph gave."""
    masks, iou, pointers, presence = outputs[-1]
    best = 1 + int(np.argmax(iou[0, 1:]))
    one = slice(best, best + 1)
    return [masks[:, one], iou[:, one], pointers[one], presence]


def _deployed(subject: Subject) -> Form:
    return form(subject.module(GRAPH), subject.inputs(GRAPH))


def _without(subject: Subject, undone: nn.Module) -> Pair:
    return form(undone.eval(), subject.inputs(GRAPH)), _deployed(subject)


def _prompted(subject: Subject) -> Pair:
    prompted = form(subject.module("mask_decoder"), subject.inputs("mask_decoder"), read=best_alternative)
    return prompted, _deployed(subject)


def _folded(subject: Subject) -> Pair:
    inputs = subject.inputs(GRAPH) | {"position": output_tokens(subject.model)}
    return form(PromptedFirstBlock(subject.model).eval(), inputs), _deployed(subject)


REWRITINGS = (
    Rewriting(
        "prompt-free-decoder",
        "a frame without prompt needs no prompt encoder, no empty prompt slots and only the best alternative's mask",
        GRAPH,
        _prompted,
        scope="whole graph, against the one for prompts (of this variant)",
        units=ANSWER_UNITS,
    ),
    Rewriting(
        "folded-first-block",
        "tokens that do not depend on the frame have read each other, and are queries, before the graph is run",
        GRAPH,
        _folded,
        units=ANSWER_UNITS,
    ),
    Rewriting(
        "absorbed-attention",
        "(t Wq)(x Wk) = (t Wq Wk) x and softmax(A)(x Wv) = (softmax(A) x) Wv: few tokens are projected, no image cell",
        GRAPH,
        lambda subject: _without(subject, ProjectedDecoder(subject.model)),
        units=ANSWER_UNITS,
    ),
    Rewriting(
        "token-upscaling",
        "a 2x2 transposed convolution of stride 2 is a product of rows; only finished masks are put back in place",
        GRAPH,
        lambda subject: _without(subject, MapUpscaling(subject.model)),
        units=ANSWER_UNITS,
    ),
    Rewriting(
        "one-mask",
        "the best alternative is known before its mask is drawn",
        GRAPH,
        lambda subject: _without(subject, EveryMask(subject.model)),
        units=ANSWER_UNITS,
    ),
    Rewriting(
        "batched-heads",
        "presence, IoU and mask weights are the same three layers, so they are one batch",
        GRAPH,
        lambda subject: _without(subject, SeparateHeads(subject.model)),
        units=ANSWER_UNITS,
    ),
)
