"""What a segmenter asks of a bundle's graphs, in the words of tracking; which graphs there are is each pipeline's
business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..graphs.contract import Geometry
from .backend import Handle
from .memory import Recall
from .prompts import Points, point_ports

Array = NDArray[np.float32]
Features = Any
"""An encoded frame that only its pipeline looks into; valid for any number of objects and calls."""
Memory = Any
"""What one frame left behind for one object, as its pipeline keeps it."""
Recollection = Recall[Memory, Array]
"""Memories with their temporal rows, and object pointers (C,), that one frame reads; at least one memory."""


@dataclass(frozen=True)
class Candidates:
    """The decoder's answer before any choice of a mask or gating.

    mask_logits: (K, S/4, S/4).  iou: (K,) predicted, 0..1.  pointers: (K, C).  presence: logit.  K is 4, the single
    mask and the three alternatives, or 1 where the best alternative has been chosen already.
    """

    mask_logits: Array
    iou: Array
    pointers: Array
    presence: float


class Pipeline(Protocol):
    """The networks of a bundle as verbs."""

    def encode(self, image: Array) -> Features:
        """Encode a (1, 3, S, S) input, RGB 0..255."""
        ...

    def track(self, features: Features, recollection: Recollection) -> Candidates:
        """An object on a frame without a prompt."""
        ...

    def answer(
        self,
        features: Features,
        points: Points,
        mask_input: Array | None = None,
        recollection: Recollection | None = None,
    ) -> Candidates:
        """An object on a prompted frame; K is 4.

        Args:
            features: of the frame.
            points: with their padding, in pixels of the square input.
            mask_input: (S/4, S/4) logits of an earlier answer.
            recollection: None if the object has no memory.
        """
        ...

    def describe(self, features: Features, mask_input: Array) -> Candidates:
        """Pointers of an object whose mask is given, as (S/4, S/4) decoder input; reads features as they are."""
        ...

    def memorize(self, features: Features, mask_logits: Array, binarize: bool) -> Memory:
        """The memory of a frame from its (S/4, S/4) mask logits, thresholded if it was prompted."""
        ...

    def memory_tokens(self, memory: Memory) -> Array:
        """The part of a memory that every pipeline can make the rest from: (1, tokens, memory width)."""
        ...

    def memory_of(self, tokens: Array) -> Memory:
        """Inverse of `memory_tokens`."""
        ...


Place = Callable[[Array], Handle]
"""Turns a host array that is read many times into a handle of the backend."""


def on_the_host(array: Array) -> Handle:
    """A host array as a handle of a backend that computes there."""
    return array


def recall_ports(recollection: Recollection, slots: int, geometry: Geometry) -> dict[str, Array]:
    """The host's ports of memory attention with `slots` memory slots: rows of the memories, and pointers."""
    g = geometry
    row = np.zeros((slots, g.temporal_rows), np.float32)
    for slot, (_, temporal) in enumerate(recollection.memories):
        row[slot, temporal] = 1
    pointers = np.zeros((g.pointer_slots, g.width), np.float32)
    used = np.zeros((g.pointer_slots, 1), np.float32)
    for slot, pointer in enumerate(recollection.pointers):
        pointers[slot], used[slot] = pointer, 1
    return {"memory_row": row, "pointers": pointers, "pointer_used": used}


def prompt_ports(points: Points, mask_input: Array | None, geometry: Geometry) -> dict[str, Array]:
    """The host's ports of the prompted decoder besides what each variant adds."""
    side = geometry.mask_size
    mask = np.zeros((1, 1, side, side), np.float32)
    if mask_input is not None:
        mask[0, 0] = mask_input
    return {
        **point_ports(points, geometry),
        "mask_input": mask,
        "mask_used": np.asarray([mask_input is not None], np.float32),
    }


def memory_ports(mask_logits: Array, binarize: bool) -> dict[str, Array]:
    """The host's ports of the memory encoder."""
    return {
        "mask_logits": np.ascontiguousarray(mask_logits[None, None]),
        "binarize": np.asarray([binarize], np.float32),
    }


def candidates(outputs: Mapping[str, Handle]) -> Candidates:
    """What a decoder gave, without the batch axis."""
    return Candidates(
        outputs["mask_logits"][0], outputs["iou"][0], outputs["mask_pointers"], float(outputs["presence"][0])
    )
