"""All rewritings together: the portable graphs against those of `ort`, and these against `ort-int8`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from ...graphs.contract import memory_port
from .decoder import best_alternative
from .integers import ROUNDED
from .rewriting import ANSWER_UNITS, Array, Form, Pair, Rewriting, Step, last
from .subject import FRAME, Subject

PORTABLE_FRAME = ("image_encoder", "memory_attention", "mask_decoder", "memory_encoder")
ALL = "all graphs"


def as_tokens(outputs: Sequence[Sequence[Array]]) -> list[Array]:
    """The first output of the last graph, a map (1, C, g, g), as tokens (1, N, C)."""
    features = outputs[-1][0]
    return [features.reshape(*features.shape[:2], -1).transpose(0, 2, 1)]


def everything(outputs: Sequence[Sequence[Array]]) -> list[Array]:
    """Every output of every graph."""
    return [array for found in outputs for array in found]


def _portable(subject: Subject, graph: str) -> Step:
    inputs = dict(subject.inputs(graph))
    if graph == "memory_attention":
        memories = {memory_port(i): part["memory"] for i, part in enumerate(subject.memories)}
        features = subject.map_of(subject.inputs("frame_attention")["features"])
        inputs = {"features": features} | memories | subject.recollection(subject.slots, subject.slots)
    elif "features" in inputs:
        inputs["features"] = subject.map_of(inputs["features"])
        inputs.pop("without_memory", None)
    inputs = {name: torch.clone(tensor, memory_format=torch.contiguous_format) for name, tensor in inputs.items()}
    return Step(subject.module(graph, portable=True), inputs)


def _against_portable(plain: str, graphs: Sequence[str], subject: Subject) -> Pair:
    readings = {"image_encoder": as_tokens, "memory_attention": as_tokens, "mask_decoder": best_alternative}
    same = plain == "memory_encoder" or graphs[-1] == "mask_decoder"
    portable = Form((_portable(subject, plain),), last if same else readings[plain])
    return portable, Form(tuple(subject.step(graph) for graph in graphs))


def _frames(subject: Subject) -> Pair:
    """What the decoder answers comes first, as its units do; then features, fused features and the memory."""

    def of_portable(outputs: Sequence[Sequence[Array]]) -> list[Array]:
        encoded, fused, decoded, memory = ([found] for found in outputs)
        return [*best_alternative(decoded), *as_tokens(encoded), *as_tokens(fused), *memory[0]]

    def of_ort(outputs: Sequence[Sequence[Array]]) -> list[Array]:
        encoded, _, fused, decoded, memory, _ = outputs
        return [*decoded, *encoded, *fused, *memory]

    portable = Form(tuple(_portable(subject, graph) for graph in PORTABLE_FRAME), of_portable)
    return portable, Form(tuple(subject.step(graph) for graph in FRAME), of_ort)


def _integers(graphs: Sequence[str], subject: Subject) -> Pair:
    fp32, int8 = (Form(tuple(subject.step(g, precision) for g in graphs), everything) for precision in ("fp32", "int8"))
    return fp32, int8


def _row(graphs: Sequence[str], plain: str, name: str, per_frame: float = 1.0) -> Rewriting:
    return Rewriting(
        f"ort-{name}",
        "everything that is in the graphs of this variant",
        " + ".join(graphs),
        partial(_against_portable, plain, graphs),
        scope="portable against ort",
        per_frame=per_frame,
        units=ANSWER_UNITS if plain == "mask_decoder" else (),
    )


REWRITINGS = (
    _row(("image_encoder",), "image_encoder", "image-encoder"),
    _row(("frame_attention", "memory_keys", "memory_attention"), "memory_attention", "memory-attention"),
    _row(("tracked_decoder",), "mask_decoder", "tracked-decoder"),
    _row(("mask_decoder",), "mask_decoder", "mask-decoder", per_frame=0.0),
    _row(("memory_encoder",), "memory_encoder", "memory-encoder"),
    Rewriting(
        "ort-frame", "a tracked frame of one object", ALL, _frames, scope="portable against ort", units=ANSWER_UNITS
    ),
    Rewriting(
        "ort-int8-image-encoder",
        "everything that the int8 variant computes in integers",
        "image_encoder",
        partial(_integers, ("image_encoder",)),
        scope="ort against ort-int8",
        tolerance=ROUNDED,
    ),
    Rewriting(
        "ort-int8-memory-attention",
        "everything that the int8 variant computes in integers",
        "frame_attention + memory_attention",
        partial(_integers, ("frame_attention", "memory_attention")),
        scope="ort against ort-int8",
        tolerance=ROUNDED,
    ),
    Rewriting(
        "ort-int8-frame",
        "a tracked frame of one object",
        ALL,
        partial(_integers, FRAME),
        scope="ort against ort-int8",
        tolerance=ROUNDED,
    ),
)
