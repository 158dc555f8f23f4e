"""The rewritings of memory attention, and of the graphs that compute what it need not."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from ...graphs.contract import memory_attention_name, memory_port
from ..ort.memory_attention import OrtMemoryAttention
from ..ort.written_attention import MOST
from .attention_undone import BiasedMemoryAttention, KeysOnEveryFrame, frame_attention_without, with_wide_values
from .rewriting import Array, Form, NotHereError, Pair, Rewriting, form
from .standard_operators import in_standard_operators
from .subject import Subject

FRAME, MEMORY = "frame_attention", "memory_attention"
OBJECTS = 5


def _deployed(subject: Subject, graph: str) -> Form:
    return form(subject.module(graph), subject.inputs(graph))


def _joined_values(subject: Subject) -> Pair:
    without = frame_attention_without(subject, "joined values")
    return form(without, subject.inputs(FRAME)), _deployed(subject, FRAME)


def _rotation(subject: Subject) -> Pair:
    width = subject.config.width
    pairs = np.arange(width).reshape(2, -1).T.reshape(-1)  # where each channel of a pair lies in the halves

    def read(outputs: Sequence[Sequence[Array]]) -> list[Array]:
        started, query = outputs[-1]
        return [started, query[..., pairs]]

    without = form(frame_attention_without(subject, "rotation"), subject.inputs(FRAME), read=read)
    return without, _deployed(subject, FRAME)


def _unfused(subject: Subject) -> Pair:
    standard = form(
        subject.module(MEMORY),
        subject.inputs(MEMORY),
        lambda model: in_standard_operators(model, ("MultiHeadAttention",)),
    )
    return standard, form(subject.module(MEMORY), subject.inputs(MEMORY), None)


def _written_out(subject: Subject, graph: str) -> Pair:
    if subject.geometry.tokens**2 > MOST:
        raise NotHereError("its scores are so many that the fused operator stays")
    return form(subject.module(graph), subject.inputs(graph), None), _deployed(subject, graph)


def _wide_values(subject: Subject) -> Pair:
    return form(with_wide_values(subject), subject.inputs(MEMORY)), _deployed(subject, MEMORY)


def _bias(subject: Subject, fused: bool) -> Pair:
    return form(BiasedMemoryAttention(subject, fused).eval(), subject.inputs(MEMORY)), _deployed(subject, MEMORY)


def _cached_keys(subject: Subject) -> Pair:
    inputs = subject.inputs(MEMORY)
    memories = {memory_port(i): part["memory"] for i, part in enumerate(subject.memories)}
    whole = {name: inputs[name] for name in ("started", "query")} | memories
    whole |= subject.recollection(subject.slots, subject.slots)
    return form(KeysOnEveryFrame(subject).eval(), whole), Form((subject.step("memory_keys"), subject.step(MEMORY)))


def _fewer_slots(slots: int, fewer_than: int | None, subject: Subject) -> Pair:
    """A graph of `slots`, against the one of `fewer_than` (everything by default) with as many memories in it."""
    counts = subject.deployment.memory_counts
    more = fewer_than or counts[-1]
    if slots not in counts or more not in counts or slots >= more:
        raise NotHereError(f"its graphs hold {', '.join(map(str, counts))} memories")
    forms = []
    for count in (more, slots):
        module = subject.module(memory_attention_name(count))
        assert isinstance(module, OrtMemoryAttention)
        forms.append(form(module, subject.attention_inputs(count, slots)))
    return forms[0], forms[1]


def _shared(subject: Subject) -> Pair:
    frame, memory = subject.step(FRAME), subject.step(MEMORY)
    return Form((frame, memory) * OBJECTS), Form((frame, *(memory,) * OBJECTS))


SINGLE_FRAMES = 0.0

REWRITINGS = (
    Rewriting(
        "joined-values",
        "softmax(A)(x Wv) Wo = softmax(A)(x Wv Wo): value and output projection of self-attention are one product",
        FRAME,
        _joined_values,
    ),
    Rewriting(
        "fused-rotation",
        "rotary embedding as one operator, in place of slices, products and a concatenation of even and odd channels",
        FRAME,
        _rotation,
    ),
    Rewriting(
        "written-self-attention",
        "attention of one head as two products and a softmax, in chunks of queries that are divided evenly",
        FRAME,
        lambda subject: _written_out(subject, FRAME),
        scope="whole graph, against the fused operator",
    ),
    Rewriting(
        "memory-wide-values",
        "softmax(A)(M Wv) Wo = (softmax(A) M) Wv Wo: memories are weighed at their own width, by all layers",
        MEMORY,
        _wide_values,
    ),
    Rewriting(
        "fused-memory-attention",
        "one operator in place of two products and a softmax, which keeps scores in tiles",
        MEMORY,
        _unfused,
        scope="whole graph, with the operator even where it is written out",
    ),
    Rewriting(
        "written-memory-attention",
        "attention of one head as two products and a softmax, in chunks of queries that are divided evenly",
        MEMORY,
        lambda subject: _written_out(subject, MEMORY),
        scope="whole graph, against the fused operator",
    ),
    Rewriting(
        "score-column",
        "q k + b = [q, 1] [k, b]: weights of slots and pointers are a column of the keys, not a bias of every score",
        MEMORY,
        lambda subject: _bias(subject, fused=True),
        scope="whole graph, against the fused operator with a bias",
    ),
    Rewriting(
        "score-column-written",
        "the same against a bias of every key that is added to the scores",
        MEMORY,
        lambda subject: _bias(subject, fused=False),
        scope="whole graph, against two products, a sum and a softmax",
    ),
    Rewriting(
        "cached-keys",
        "keys depend on the frame only through a term of their age, so the rest is computed when a memory is written",
        f"{MEMORY} + memory_keys",
        _cached_keys,
        scope="both graphs against one that reads whole memories",
    ),
    Rewriting(
        "fewer-slots-2",
        "a graph of 2 slots for 2 memories, where that of 7 would mask five copies of the first one",
        MEMORY,
        partial(_fewer_slots, 2, 7),
        scope="whole graph, of 2 against 7 slots",
        per_frame=SINGLE_FRAMES,
    ),
    Rewriting(
        "fewer-slots-4",
        "a graph of 4 slots for 3 or 4 memories, where that of 7 would mask three copies of the first one",
        MEMORY,
        partial(_fewer_slots, 4, 7),
        scope="whole graph, of 4 against 7 slots",
        per_frame=SINGLE_FRAMES,
    ),
    Rewriting(
        "fewer-slots-7",
        "a graph of 7 slots for one prompted and six recent memories, where that of everything would mask the rest",
        MEMORY,
        partial(_fewer_slots, 7, None),
        scope="whole graph, of 7 slots against all",
    ),
    Rewriting(
        "shared-frame-attention",
        f"the self-attention before any memory is read is the same for all objects: once for {OBJECTS} of them",
        f"{FRAME} + {MEMORY}",
        _shared,
        scope=f"both graphs, {OBJECTS} objects",
        per_frame=1 / OBJECTS,
    ),
)
