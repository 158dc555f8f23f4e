"""What products of 8-bit integers are worth.  These are no identities: the difference is their error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx

from ..int8 import quantize_linears, quantize_scores, to_int8
from ..ort.written_attention import write_out_attention
from .rewriting import Form, Pair, Rewriting, Step
from .subject import Subject

ENCODER = ("image_encoder",)
MEMORY = ("frame_attention", "memory_attention")
ROUNDED = 1e-1
"""The contract's tolerance of int8."""


def _form(subject: Subject, graphs: Sequence[str], parts: Sequence[str]) -> Form:
    def step(graph: str) -> Step:
        def convert(model: onnx.ModelProto) -> onnx.ModelProto:
            if parts:
                sample = subject.sample(graph).inputs
                model = to_int8(model, subject.name(graph), subject.geometry.width, [sample], parts)
            return write_out_attention(model)

        return Step(subject.module(graph), subject.inputs(graph), rewrite=convert)

    return Form(tuple(step(graph) for graph in graphs))


def _more(subject: Subject, graphs: Sequence[str], before: Sequence[str], added: str) -> Pair:
    return _form(subject, graphs, before), _form(subject, graphs, (*before, added))


def _smoothing(subject: Subject) -> Pair:
    (graph,) = ENCODER
    rough = Step(subject.module(graph), subject.inputs(graph), rewrite=lambda m: quantize_linears(m, lambda *_: True))
    return Form((rough,)), _form(subject, ENCODER, ("encoder",))


def _encoder_scores(subject: Subject) -> Pair:
    linears = _form(subject, ENCODER, ("encoder",))
    (step,) = linears.steps
    scores = replace(step, rewrite=lambda model: quantize_scores(step.rewrite(model), lambda *_: True))
    return linears, Form((scores,))


REWRITINGS = (
    Rewriting(
        "int8-encoder",
        "linear layers in integers: signed bytes with a scale per output, activations measured when the graph runs",
        "image_encoder",
        lambda subject: _more(subject, ENCODER, (), "encoder"),
        tolerance=ROUNDED,
    ),
    Rewriting(
        "int8-smoothing",
        "large channels made smaller behind a norm and their weights larger: meant to cost no time, and to round less",
        "image_encoder",
        _smoothing,
        scope="whole graph, both with int8-encoder",
        tolerance=ROUNDED,
    ),
    Rewriting(
        "int8-encoder-scores",
        "attention scores in integers, softmax and values in float32; not in the variant, because it gains nothing",
        "image_encoder",
        _encoder_scores,
        scope="whole graph, both with int8-encoder",
        tolerance=ROUNDED,
    ),
    Rewriting(
        "int8-memory",
        "linear layers in integers, but for narrow ones",
        "frame_attention + memory_attention",
        lambda subject: _more(subject, MEMORY, (), "memory"),
        scope="both graphs",
        tolerance=ROUNDED,
    ),
    Rewriting(
        "int8-memory-scores",
        "attention scores in integers, softmax and values in float32",
        "frame_attention + memory_attention",
        lambda subject: _more(subject, MEMORY, ("memory",), "scores"),
        scope="both graphs, both with int8-memory",
        tolerance=ROUNDED,
    ),
)
