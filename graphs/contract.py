"""What each graph takes and gives.  Every name, shape, meaning and tolerance is stated here and nowhere else.

The wrappers, the exporters, the manifest, the runtime's check at load, the parity tests and the table in the
documentation all read this module.  Standard library only.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

LABELS = (-1, 0, 1, 2, 3)
"""Meaning of the columns of a one-hot point label: not a point, negative, positive, first and second box corner."""
MASKS = 4
"""Masks of the decoder: 0 is the single mask, 1 to 3 are the alternatives."""


@dataclass(frozen=True)
class Port:
    """One tensor at the edge of a graph, float32.

    host: small, read or written by the host; otherwise it may stay on a device.  unit: errors are measured against
    the largest magnitude of the tensor or this, whichever is larger (a logit of 0.01 is not held to seven digits).
    """

    name: str
    shape: tuple[int, ...]
    doc: str
    host: bool = False
    unit: float = 0.0
    dtype: str = "float32"


@dataclass(frozen=True)
class Graph:
    """One function.  `tolerance`: largest allowed max|a - b| / max(max|b|, unit) of any output against PyTorch, per
    precision of the weights.
    """

    name: str
    doc: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    tolerance: dict[str, float]


@dataclass(frozen=True)
class Geometry:
    """The sizes from which every shape follows.

    image_size: side of the square input, pixels.  stride: pixels per feature cell.  width: channels of features and
    pointers.
    memory_width: channels of a memory.  recent_memories: latest frames remembered.  recent_pointers: latest frames
    whose pointers are remembered.  prompted_frames: prompted frames that can be attended to at once.  prompt_slots:
    prompt tokens of the decoder, the padding point included.
    """

    image_size: int
    stride: int
    width: int
    memory_width: int
    recent_memories: int
    recent_pointers: int
    prompted_frames: int
    prompt_slots: int

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"geometry: {field.name} must be a positive integer, found {value!r}")
        if self.image_size % (2 * self.stride):
            raise ValueError(f"geometry: image_size {self.image_size} is not a multiple of {2 * self.stride}")
        if self.image_size % 4:
            raise ValueError(f"geometry: image_size {self.image_size} is not a multiple of 4")
        if self.width % self.memory_width:
            raise ValueError(f"geometry: width {self.width} is not a multiple of memory_width {self.memory_width}")

    @property
    def grid(self) -> int:
        """Side of the feature map in cells."""
        return self.image_size // self.stride

    @property
    def tokens(self) -> int:
        """Cells of the feature map."""
        return self.grid * self.grid

    @property
    def mask_size(self) -> int:
        """Side of low-resolution masks in pixels."""
        return self.image_size // 4

    @property
    def pointer_slots(self) -> int:
        """Object pointers that one frame can attend to."""
        return self.prompted_frames + self.recent_pointers

    @property
    def temporal_rows(self) -> int:
        """Temporal positions: one per recent frame, newest first, and the last one for prompted frames."""
        return self.recent_memories + 1

    @property
    def memory_counts(self) -> tuple[int, ...]:
        """Memory slots of the memory-attention graphs: exactly one, one prompted frame with all recent ones, and
        everything.
        """
        return tuple(sorted({1, 1 + self.recent_memories, self.prompted_frames + self.recent_memories}))

    def as_dict(self) -> dict[str, int]:
        """The fields as plain JSON numbers."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Geometry:
        """Inverse of `as_dict`; ValueError names a missing, unknown or invalid field."""
        names = {field.name for field in fields(cls)}
        if set(data) != names:
            raise ValueError(f"geometry: expected the fields {sorted(names)}, found {sorted(data)}")
        return cls(**data)


_TOLERANCE = {"fp32": 1e-5, "fp16": 2e-2, "int8": 1e-1, "palette6": 2e-1}


def memory_attention_name(slots: int) -> str:
    """Name of the memory-attention graph with that many memory slots."""
    return f"memory_attention_{slots}"


def memory_port(slot: int) -> str:
    """Name of one memory slot of a memory-attention graph."""
    return f"memory_{slot:02d}"


def _image_encoder(g: Geometry) -> Graph:
    features = (1, g.width, g.grid, g.grid)
    return Graph(
        "image_encoder",
        "Image to features, once per frame whatever the number of objects.",
        (
            Port(
                "image",
                (1, 3, g.image_size, g.image_size),
                "RGB, 0..255, the frame squeezed to a square; not normalised.",
                host=True,
            ),
        ),
        (
            Port("features", features, "Raw features: input of memory attention and of the memory encoder."),
            Port(
                "features_without_memory",
                features,
                "Features plus the no-memory embedding: decoder input on a first prompted frame and on single images.",
            ),
        ),
        _TOLERANCE,
    )


def _memory_attention(g: Geometry, slots: int) -> Graph:
    doc = (
        "Fuses features with exactly one memory; never pooled."
        if slots == 1
        else f"Fuses features with 2 to {slots} memories; unused slots are masked, pass any memory there."
    )
    return Graph(
        memory_attention_name(slots),
        doc,
        (
            Port("features", (1, g.width, g.grid, g.grid), "Raw features of the current frame."),
            *(
                Port(memory_port(slot), (1, g.tokens, g.memory_width), "A memory, as the memory encoder gave it.")
                for slot in range(slots)
            ),
            Port(
                "memory_row",
                (slots, g.temporal_rows),
                "One-hot temporal row of each slot: 0 the newest recent frame, last the prompted; zeros: unused.",
                host=True,
            ),
            Port(
                "pointers", (g.pointer_slots, g.width), "Object pointers, in any order; zeros where unused.", host=True
            ),
            Port("pointer_used", (g.pointer_slots, 1), "1 where there is a pointer, else 0.", host=True),
        ),
        (Port("fused", (1, g.width, g.grid, g.grid), "Features that know the object: decoder input."),),
        _TOLERANCE,
    )


def _mask_decoder(g: Geometry) -> Graph:
    low = (g.mask_size, g.mask_size)
    return Graph(
        "mask_decoder",
        "Features and prompt to masks, presence and object pointers, before any choice or gating.",
        (
            Port(
                "features",
                (1, g.width, g.grid, g.grid),
                "Fused features, features_without_memory, or raw for a mask prompt.",
            ),
            Port(
                "points",
                (1, g.prompt_slots, 2),
                "Pixels (x, y) of the square input; zeros for padding and unused.",
                host=True,
            ),
            Port(
                "point_label",
                (1, g.prompt_slots, len(LABELS)),
                f"One-hot over the labels {LABELS}; all zeros: slot unused.",
                host=True,
            ),
            Port("mask_input", (1, 1, *low), "Logits of an earlier mask; zeros where mask_used is 0.", host=True),
            Port("mask_used", (1,), "1 if mask_input is a prompt, else 0.", host=True),
        ),
        (
            Port(
                "mask_logits", (1, MASKS, *low), "Logits of the single mask and of the three alternatives.", True, 1.0
            ),
            Port("iou", (1, MASKS), "Predicted IoU of each mask, 0..1.", True, 1.0),
            Port("mask_pointers", (MASKS, g.width), "Object pointer of each mask.", host=True),
            Port("presence", (1,), "Logit of the object being visible.", True, 1.0),
        ),
        _TOLERANCE,
    )


def _memory_encoder(g: Geometry) -> Graph:
    return Graph(
        "memory_encoder",
        "Raw features and the mask of a frame to the memory of that frame.",
        (
            Port("features", (1, g.width, g.grid, g.grid), "Raw features of the same frame."),
            Port("mask_logits", (1, 1, g.mask_size, g.mask_size), "Chosen and gated low-resolution logits.", host=True),
            Port(
                "binarize",
                (1,),
                "1 thresholds the mask (prompted frames), 0 takes its sigmoid (tracked frames).",
                host=True,
            ),
        ),
        (Port("memory", (1, g.tokens, g.memory_width), "One memory, row-major cells."),),
        _TOLERANCE,
    )


def contract(geometry: Geometry) -> dict[str, Graph]:
    """All graphs of a bundle by name."""
    graphs = (
        _image_encoder(geometry),
        *(_memory_attention(geometry, slots) for slots in geometry.memory_counts),
        _mask_decoder(geometry),
        _memory_encoder(geometry),
    )
    return {graph.name: graph for graph in graphs}


def as_dict(graph: Graph) -> dict[str, Any]:
    """A graph as plain JSON values, as the manifest holds it."""

    def ports(items: tuple[Port, ...]) -> list[dict[str, Any]]:
        return [{**asdict(port), "shape": list(port.shape)} for port in items]

    return {"doc": graph.doc, "inputs": ports(graph.inputs), "outputs": ports(graph.outputs)}
