"""The pipeline over the portable graphs: `graphs/contract.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..graphs.contract import Geometry, memory_attention_name, memory_port
from .backend import Handle, Runner
from .parity import on_host
from .pipeline import (
    Array,
    Candidates,
    Place,
    Recollection,
    candidates,
    memory_ports,
    on_the_host,
    prompt_ports,
    recall_ports,
)
from .prompts import NO_POINTS, Points, padded


@dataclass(frozen=True)
class PortableFeatures:
    """An encoded frame: handles of the raw features and of the features without memory."""

    raw: Handle
    without_memory: Handle


class PortablePipeline:
    """Runs the portable graphs; a memory is the handle that the memory encoder gave."""

    def __init__(self, geometry: Geometry, runners: Mapping[str, Runner], place: Place = on_the_host) -> None:
        self.geometry = geometry
        self.runners = runners
        self.place = place

    def encode(self, image: Array) -> PortableFeatures:
        """See `Pipeline`."""
        out = self.runners["image_encoder"](image=image)
        return PortableFeatures(out["features"], out["features_without_memory"])

    def track(self, features: PortableFeatures, recollection: Recollection) -> Candidates:
        """See `Pipeline`; K is 4."""
        return self._decode(self._attend(features, recollection), padded(NO_POINTS), None)

    def answer(
        self,
        features: PortableFeatures,
        points: Points,
        mask_input: Array | None = None,
        recollection: Recollection | None = None,
    ) -> Candidates:
        """See `Pipeline`."""
        fused = features.without_memory if recollection is None else self._attend(features, recollection)
        return self._decode(fused, points, mask_input)

    def describe(self, features: PortableFeatures, mask_input: Array) -> Candidates:
        """See `Pipeline`."""
        return self._decode(features.raw, padded(NO_POINTS), mask_input)

    def memorize(self, features: PortableFeatures, mask_logits: Array, binarize: bool) -> Handle:
        """See `Pipeline`."""
        out = self.runners["memory_encoder"](features=features.raw, **memory_ports(mask_logits, binarize))
        return out["memory"]

    def memory_tokens(self, memory: Handle) -> Array:
        """See `Pipeline`."""
        return on_host(memory)

    def memory_of(self, tokens: Array) -> Handle:
        """See `Pipeline`."""
        return self.place(tokens)

    def _attend(self, features: PortableFeatures, recollection: Recollection) -> Handle:
        """Fuse features with memories, on the smallest graph that holds them; exactly one memory has its own graph."""
        memories = [memory for memory, _ in recollection.memories]
        slots = next(count for count in self.geometry.memory_counts if count >= len(memories))
        memories += memories[:1] * (slots - len(memories))
        out = self.runners[memory_attention_name(slots)](
            features=features.raw,
            **{memory_port(slot): memory for slot, memory in enumerate(memories)},
            **recall_ports(recollection, slots, self.geometry),
        )
        return out["fused"]

    def _decode(self, features: Handle, points: Points, mask_input: Array | None) -> Candidates:
        ports = prompt_ports(points, mask_input, self.geometry)
        return candidates(self.runners["mask_decoder"](features=features, **ports))
