"""The edges of the `ort` variant: the same functions as `contract`, cut where ONNX Runtime is fastest.

Everything between graphs is a list of row-major tokens.  What does not depend on memory is computed once per frame
and shared by all objects (`frame_attention`); what does not depend on the current frame is computed once per memory
(`memory_keys`).  Frames without a prompt have a decoder of their own.  Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from .contract import Geometry, Graph, Port, contract, memory_attention_name, memory_port

TOLERANCE = {"fp32": 1e-5, "fp16": 8e-3, "int8": 1e-1}


@dataclass(frozen=True)
class Deployment:
    """What the edges of this variant need besides the geometry.

    layers: of memory attention.  pool: side of the pooling window of memory attention, 1 where it does not pool.
    memory_counts: memory slots of the memory-attention graphs, ascending, the first one 1.
    """

    layers: int
    pool: int
    memory_counts: tuple[int, ...]

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {"layers": self.layers, "pool": self.pool, "memory_counts": list(self.memory_counts)}

    def pooled_tokens(self, geometry: Geometry) -> int:
        """Tokens of a memory after pooling."""
        return geometry.tokens // self.pool**2


def keys_port(slot: int) -> str:
    """Name of the keys of one memory slot."""
    return f"keys_{slot:02d}"


def _tokens(g: Geometry) -> tuple[int, int, int]:
    return (1, g.tokens, g.width)


def _image_encoder(g: Geometry, portable: Graph) -> Graph:
    return Graph(
        portable.name,
        portable.doc,
        portable.inputs,
        (Port("features", _tokens(g), "Raw features as row-major tokens."),),
        TOLERANCE,
    )


def _frame_attention(g: Geometry) -> Graph:
    return Graph(
        "frame_attention",
        "The part of memory attention before any memory is read: once per tracked frame, shared by all objects.",
        (Port("features", _tokens(g), "Raw features of the current frame."),),
        (
            Port("started", _tokens(g), "Tokens after the first self-attention, residual included."),
            Port("query", _tokens(g), "Projected, rotated queries of the first layer's reading of memory."),
        ),
        TOLERANCE,
    )


def _memory_attention(g: Geometry, d: Deployment, slots: int, portable: Graph) -> Graph:
    *_, row, pointers, used = portable.inputs
    whole = slots == 1 and d.pool > 1
    tokens = g.tokens if whole else d.pooled_tokens(g)
    memory = "A memory as the memory encoder gave it." if whole or d.pool == 1 else "The `pooled` of a memory."
    keys = () if whole else tuple(_keys(g, d, slot) for slot in range(slots))
    doc = (
        "Reads exactly one memory; never pooled."
        if slots == 1
        else f"Reads 2 to {slots} memories; unused slots are masked, pass any memory there."
    )
    return Graph(
        memory_attention_name(slots),
        doc,
        (
            Port("started", _tokens(g), "Of frame_attention."),
            Port("query", _tokens(g), "Of frame_attention."),
            *(Port(memory_port(slot), (1, tokens, g.memory_width), memory) for slot in range(slots)),
            *keys,
            replace(row, shape=(slots, g.temporal_rows)),
            pointers,
            used,
        ),
        (Port("fused", _tokens(g), "Features that know the object: decoder input."),),
        TOLERANCE,
    )


def _keys(g: Geometry, d: Deployment, slot: int) -> Port:
    return Port(keys_port(slot), (d.layers, d.pooled_tokens(g), g.width), "The `keys` of a memory.")


def _mask_decoder(g: Geometry, portable: Graph) -> Graph:
    return Graph(
        portable.name,
        portable.doc,
        (
            Port("features", _tokens(g), "Fused features, or raw ones."),
            Port(
                "without_memory",
                (1,),
                "1 adds the no-memory embedding (first prompted frames, single images).",
                True,
            ),
            *portable.inputs[1:],
        ),
        portable.outputs,
        TOLERANCE,
    )


def _tracked_decoder(g: Geometry) -> Graph:
    return Graph(
        "tracked_decoder",
        "Fused features of a frame without a prompt to the alternative with the best predicted IoU, not gated.",
        (Port("features", _tokens(g), "Fused features."),),
        (
            Port("mask_logits", (1, 1, g.mask_size, g.mask_size), "Logits of the best alternative.", True, 1.0),
            Port("iou", (1, 1), "Its predicted IoU, 0..1.", True, 1.0),
            Port("mask_pointers", (1, g.width), "Its object pointer.", host=True),
            Port("presence", (1,), "Logit of the object being visible.", True, 1.0),
        ),
        TOLERANCE,
    )


def _memory_encoder(g: Geometry, portable: Graph) -> Graph:
    return Graph(
        portable.name,
        portable.doc,
        (Port("features", _tokens(g), "Raw features of the same frame."), *portable.inputs[1:]),
        portable.outputs,
        TOLERANCE,
    )


def _memory_keys(g: Geometry, d: Deployment) -> Graph:
    pooled = Port("pooled", (1, d.pooled_tokens(g), g.memory_width), "The memory averaged over pooling windows.")
    keys = Port(
        "keys",
        (d.layers, d.pooled_tokens(g), g.width),
        "For each layer the projected, rotated and pooled keys of memory and position, without the temporal row.",
    )
    return Graph(
        "memory_keys",
        "What memory attention reads of a memory, computed once when it is written.",
        (Port("memory", (1, g.tokens, g.memory_width), "One memory, as the memory encoder gave it."),),
        (keys,) if d.pool == 1 else (pooled, keys),
        TOLERANCE,
    )


def ort_contract(geometry: Geometry, deployment: Deployment) -> dict[str, Graph]:
    """All graphs of the `ort` variant by name."""
    portable = contract(geometry)
    one = portable[memory_attention_name(1)]
    graphs = (
        _image_encoder(geometry, portable["image_encoder"]),
        _frame_attention(geometry),
        *(_memory_attention(geometry, deployment, slots, one) for slots in deployment.memory_counts),
        _mask_decoder(geometry, portable["mask_decoder"]),
        _tracked_decoder(geometry),
        _memory_encoder(geometry, portable["memory_encoder"]),
        _memory_keys(geometry, deployment),
    )
    return {graph.name: graph for graph in graphs}
