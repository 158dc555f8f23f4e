"""The rewritings of the image encoder."""

from __future__ import annotations

from ..ort.window_order import window_order
from .encoder_undone import encoder_without
from .rewriting import Form, NotHereError, Pair, Rewriting, form
from .standard_operators import in_standard_operators
from .subject import Subject

GRAPH = "image_encoder"


def _deployed(subject: Subject) -> Form:
    return form(subject.module(GRAPH), subject.inputs(GRAPH))


def _without(subject: Subject, what: str) -> Pair:
    return form(encoder_without(subject.model, what), subject.inputs(GRAPH)), _deployed(subject)


def _pad_token(subject: Subject) -> Pair:
    _, groups = window_order(subject.config.grid, subject.config.vit_window)
    if not any(group.padding for group in groups):
        raise NotHereError("its windows fit the map, so none is padded")
    return _without(subject, "pad token")


def _unfused(subject: Subject, operator: str) -> Pair:
    standard = form(
        subject.module(GRAPH), subject.inputs(GRAPH), lambda model: in_standard_operators(model, (operator,))
    )
    return standard, form(subject.module(GRAPH), subject.inputs(GRAPH), None)


REWRITINGS = (
    Rewriting(
        "patch-rows",
        "a convolution whose stride is its kernel is a product of rows that a gather cuts out of the image",
        GRAPH,
        lambda subject: _without(subject, "patches"),
    ),
    Rewriting(
        "window-order",
        "tokens lie window by window from the first block to the last, as attention does not depend on their order",
        GRAPH,
        lambda subject: _without(subject, "order"),
    ),
    Rewriting(
        "pad-token",
        "n equal tokens are one with ln n added to its score, so windows over the border are not filled up",
        GRAPH,
        _pad_token,
    ),
    Rewriting(
        "folded-norms",
        "scale and shift of a norm go into the products behind it, and what all keys or all values share drops out",
        GRAPH,
        lambda subject: _without(subject, "biases"),
    ),
    Rewriting(
        "fused-encoder-attention",
        "one operator in place of two products and a softmax, which keeps scores in tiles and heads where they are",
        GRAPH,
        lambda subject: _unfused(subject, "MultiHeadAttention"),
    ),
    Rewriting(
        "fused-gelu",
        "the exact GELU as one operator in place of five (ONNX Runtime joins these by itself when it loads a graph)",
        GRAPH,
        lambda subject: _unfused(subject, "Gelu"),
    ),
    Rewriting(
        "neck-product",
        "a 3x3 convolution is a product of rows that a gather collects from tokens in any order",
        GRAPH,
        lambda subject: _without(subject, "neck"),
    ),
)
