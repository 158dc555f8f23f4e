"""The pipeline over the graphs of the `ort` variant: `graphs/ort_contract.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock

import numpy as np

from ..graphs.contract import Geometry, memory_attention_name, memory_port
from ..graphs.ort_contract import Deployment, keys_port
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
from .side_by_side import on_all_cores


@dataclass
class OrtFeatures:
    """An encoded frame; `started`: what memory attention begins with on it, computed when first needed."""

    raw: Handle
    started: dict[str, Handle] | None = None
    starting: Lock = field(default_factory=Lock)


@dataclass(frozen=True)
class OrtMemory:
    """A memory and what reading it takes: `pooled` (None where memory attention does not pool) and `keys`."""

    whole: Handle
    pooled: Handle | None
    keys: Handle


class OrtPipeline:
    """Runs the graphs of the `ort` variant."""

    def __init__(
        self,
        geometry: Geometry,
        deployment: Deployment,
        runners: Mapping[str, Runner],
        place: Place = on_the_host,
    ) -> None:
        self.geometry = geometry
        self.deployment = deployment
        self.runners = runners
        self.place = place

    def encode(self, image: Array) -> OrtFeatures:
        """See `Pipeline`."""
        return OrtFeatures(self.runners["image_encoder"](image=image)["features"])

    def track(self, features: OrtFeatures, recollection: Recollection) -> Candidates:
        """See `Pipeline`; K is 1."""
        return candidates(self.runners["tracked_decoder"](features=self._attend(features, recollection)))

    def answer(
        self,
        features: OrtFeatures,
        points: Points,
        mask_input: Array | None = None,
        recollection: Recollection | None = None,
    ) -> Candidates:
        """See `Pipeline`."""
        if recollection is None:
            return self._decode(features.raw, True, points, mask_input)
        return self._decode(self._attend(features, recollection), False, points, mask_input)

    def describe(self, features: OrtFeatures, mask_input: Array) -> Candidates:
        """See `Pipeline`."""
        return self._decode(features.raw, False, padded(NO_POINTS), mask_input)

    def memorize(self, features: OrtFeatures, mask_logits: Array, binarize: bool) -> OrtMemory:
        """See `Pipeline`."""
        out = self.runners["memory_encoder"](features=features.raw, **memory_ports(mask_logits, binarize))
        return self._with_keys(out["memory"])

    def memory_tokens(self, memory: OrtMemory) -> Array:
        """See `Pipeline`."""
        return on_host(memory.whole)

    def memory_of(self, tokens: Array) -> OrtMemory:
        """See `Pipeline`."""
        return self._with_keys(self.place(tokens))

    def _with_keys(self, memory: Handle) -> OrtMemory:
        out = self.runners["memory_keys"](memory=memory)
        return OrtMemory(memory, out.get("pooled"), out["keys"])

    def _attend(self, features: OrtFeatures, recollection: Recollection) -> Handle:
        """Fuse features with memories on the smallest graph that holds them; exactly one memory is read whole."""
        with features.starting, on_all_cores():  # whoever else is on this frame waits for it
            if features.started is None:
                features.started = self.runners["frame_attention"](features=features.raw)
        memories: list[OrtMemory] = [memory for memory, _ in recollection.memories]
        slots = next(count for count in self.deployment.memory_counts if count >= len(memories))
        memories += memories[:1] * (slots - len(memories))
        pools = self.deployment.pool > 1
        ports: dict[str, Handle] = {}
        for slot, memory in enumerate(memories):
            ports[memory_port(slot)] = memory.pooled if pools and slots > 1 else memory.whole
            if slots > 1 or not pools:
                ports[keys_port(slot)] = memory.keys
        out = self.runners[memory_attention_name(slots)](
            **features.started, **ports, **recall_ports(recollection, slots, self.geometry)
        )
        return out["fused"]

    def _decode(self, features: Handle, without_memory: bool, points: Points, mask_input: Array | None) -> Candidates:
        out = self.runners["mask_decoder"](
            features=features,
            without_memory=np.asarray([without_memory], np.float32),
            **prompt_ports(points, mask_input, self.geometry),
        )
        return candidates(out)
