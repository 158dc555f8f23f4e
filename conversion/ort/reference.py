"""The recorded calls of the scenario at the edges of the `ort` variant.

What the plain model gave is turned to tokens.  What only this variant has (`started`, `query`, `pooled`, `keys`) comes
from its modules in double precision: they are right if the graphs that read it agree with the plain model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator

import numpy as np

from ...graphs.contract import LABELS, memory_attention_name, memory_port
from ...graphs.ort_contract import Deployment, keys_port
from ...model import EfficientTAM
from ...runtime.networks import Networks
from ...runtime.parity import on_host
from ..scenario import Array, Call, Recorder, attend_to
from .eager import eager_networks

LEAST_LEAD = 1e-4
"""By how much the best alternative's predicted IoU must lead for two runtimes to agree on which it is."""


def tokens(features: Array) -> Array:
    """A map (1, C, g, g) as row-major tokens (1, g * g, C)."""
    return np.ascontiguousarray(features.reshape(*features.shape[:2], -1).transpose(0, 2, 1))


def ort_calls(model: EfficientTAM, networks: Networks, deployment: Deployment, calls: list[Call]) -> list[Call]:
    """The calls recorded on `networks`, the plain model's, as calls of the `ort` graphs.

    Those that attend to memory go to the smallest graph that holds it; every graph is also called with all its slots
    used and, where no smaller graph would do, with all but one.
    """
    geometry = networks.manifest.geometry
    known = {len(_used(call)) for call in calls if call.graph.startswith("memory_attention")}
    recorder = Recorder(networks)
    smaller = 0
    for slots in deployment.memory_counts:
        for used in sorted({slots, max(slots - 1, smaller + 1)} - known):
            enough = next(count for count in geometry.memory_counts if count >= used)
            attend_to(recorder.recording(), calls, enough, used)
        smaller = slots
    translation = _Translation(eager_networks(model, geometry, deployment), deployment)
    return [found for call in [*calls, *recorder.calls] for found in translation.of(call)]


class _Translation:
    """Turns calls of portable graphs into calls of the `ort` ones, in order; remembers what has been computed."""

    def __init__(self, eager: Networks, deployment: Deployment) -> None:
        self.eager = eager
        self.deployment = deployment
        self.raw_of: dict[bytes, Array] = {}  # features without memory -> raw features
        self.started: dict[bytes, dict[str, Array]] = {}
        self.read: dict[bytes, dict[str, Array]] = {}

    def of(self, call: Call) -> Iterator[Call]:
        if call.graph.startswith("memory_attention"):
            yield from self._memory_attention(call)
        else:
            yield from getattr(self, f"_{call.graph}")(call)

    def _image_encoder(self, call: Call) -> Iterator[Call]:
        features = tokens(call.outputs["features"])
        self.raw_of[_key(tokens(call.outputs["features_without_memory"]))] = features
        yield Call(call.graph, call.inputs, {"features": features})

    def _memory_attention(self, call: Call) -> Iterator[Call]:
        features = tokens(call.inputs["features"])
        if _key(features) not in self.started:
            self.started[_key(features)] = yield from self._run("frame_attention", {"features": features})
        used = _used(call)
        parts = []
        for slot in used:
            memory = call.inputs[memory_port(slot)]
            if _key(memory) not in self.read:
                self.read[_key(memory)] = yield from self._run("memory_keys", {"memory": memory})
            parts.append({"memory": memory, **self.read[_key(memory)]})
        slots = next(count for count in self.deployment.memory_counts if count >= len(used))
        parts += parts[:1] * (slots - len(parts))
        whole = slots == 1 or self.deployment.pool == 1
        inputs = dict(self.started[_key(features)])
        for slot, part in enumerate(parts):
            inputs[memory_port(slot)] = part["memory" if whole else "pooled"]
            if slots > 1 or self.deployment.pool == 1:
                inputs[keys_port(slot)] = part["keys"]
        row = np.zeros((slots, call.inputs["memory_row"].shape[1]), np.float32)
        row[: len(used)] = call.inputs["memory_row"][used]
        inputs |= {"memory_row": row} | {port: call.inputs[port] for port in ("pointers", "pointer_used")}
        yield Call(memory_attention_name(slots), inputs, {"fused": tokens(call.outputs["fused"])})

    def _mask_decoder(self, call: Call) -> Iterator[Call]:
        features = tokens(call.inputs["features"])
        raw = self.raw_of.get(_key(features))
        gate = {"without_memory": np.asarray([raw is not None], np.float32)}
        yield Call(call.graph, {**call.inputs, **gate, "features": features if raw is None else raw}, call.outputs)
        ranked = np.sort(call.outputs["iou"][0, 1:])
        if _is_tracked(call) and raw is None and ranked[-1] - ranked[-2] > LEAST_LEAD:
            best = 1 + int(np.argmax(call.outputs["iou"][0, 1:]))
            chosen = slice(best, best + 1)
            outputs = {
                "mask_logits": call.outputs["mask_logits"][:, chosen],
                "iou": call.outputs["iou"][:, chosen],
                "mask_pointers": call.outputs["mask_pointers"][chosen],
                "presence": call.outputs["presence"],
            }
            yield Call("tracked_decoder", {"features": features}, outputs)

    def _memory_encoder(self, call: Call) -> Iterator[Call]:
        yield Call(call.graph, {**call.inputs, "features": tokens(call.inputs["features"])}, call.outputs)

    def _run(self, graph: str, inputs: dict[str, Array]) -> Generator[Call, None, dict[str, Array]]:
        found = self.eager.runners[graph](**inputs)
        outputs = {port: on_host(value).astype(np.float32) for port, value in found.items()}
        yield Call(graph, inputs, outputs)
        return outputs


def _used(call: Call) -> list[int]:
    """The memory slots that a call of memory attention uses."""
    return [slot for slot, row in enumerate(call.inputs["memory_row"]) if row.any()]


def _is_tracked(call: Call) -> bool:
    """Whether a call of the decoder has no prompt: two paddings and no mask."""
    label = call.inputs["point_label"][0]
    unprompted = np.zeros_like(label)
    unprompted[:2, LABELS.index(-1)] = 1
    return bool(np.array_equal(label, unprompted)) and not call.inputs["mask_used"].any()


def _key(array: Array) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(array)).digest()
