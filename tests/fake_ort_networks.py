"""The fake of `fake_networks` behind the edges of the `ort` variant: the same answers, cut elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from fake_networks import WITHOUT_MEMORY, FakeFeatures, FakeModel, encoded

from etam_onnx.graphs.contract import LABELS, memory_port
from etam_onnx.graphs.ort_contract import Deployment, keys_port
from etam_onnx.graphs.variants import ORT


@dataclass(frozen=True)
class Started:
    """A call of frame_attention."""

    frame: int


@dataclass(frozen=True)
class Keyed:
    """A call of memory_keys: number of the memory, from 1."""

    memory: int


@dataclass(frozen=True)
class Part:
    """A handle made from a memory.  kind: pooled or keys."""

    kind: str
    memory: int


class FakeOrtModel(FakeModel):
    """Answers exactly as `FakeModel` does, and insists that the handles of a call belong together."""

    variant = ORT

    def __init__(self, pool: int = 2, **sizes: int) -> None:
        super().__init__(**sizes)
        most = self.geometry.prompted_frames + self.geometry.recent_memories
        self.counts = (1, *(count for count in (2, 4, 7) if count < most), most)
        self.deployment = Deployment(1, pool, self.counts)
        self.pool = pool

    def _image_encoder(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {"features": super()._image_encoder(inputs)["features"]}

    def _frame_attention(self, inputs: dict[str, Any]) -> dict[str, Any]:
        features = inputs["features"]
        assert features.kind == "raw"
        self.calls.append(Started(features.frame))
        return {"started": replace(features, kind="started"), "query": replace(features, kind="query")}

    def _memory_keys(self, inputs: dict[str, Any]) -> dict[str, Any]:
        self._read(inputs["memory"])
        number = int(inputs["memory"][0, 0, 0])
        self.calls.append(Keyed(number))
        keys = {"keys": Part("keys", number)}
        return keys if self.pool == 1 else {"pooled": Part("pooled", number), **keys}

    def _memory_attention(self, inputs: dict[str, Any]) -> dict[str, Any]:
        started, query = inputs["started"], inputs["query"]
        assert (started.kind, query.kind) == ("started", "query") and started.frame == query.frame
        slots = len(inputs["memory_row"])
        whole = self.pool == 1 or slots == 1
        read = []
        for slot in range(slots):
            memory, keys = inputs[memory_port(slot)], inputs.get(keys_port(slot))
            assert isinstance(memory, np.ndarray if whole else Part)
            number = int(memory[0, 0, 0]) if whole else memory.memory
            assert whole or memory.kind == "pooled"
            assert keys == Part("keys", number) or (keys is None and slots == 1 and self.pool > 1)
            read.append(self.memories[number - 1])
        assert slots == 1 or np.count_nonzero(inputs["memory_row"]) > max(
            count for count in self.counts if count < slots
        ), "a smaller graph would do"
        return {"fused": self._fused(replace(started, kind="raw"), read, inputs)}

    def _mask_decoder(self, inputs: dict[str, Any]) -> dict[str, Any]:
        features: FakeFeatures = inputs["features"]
        if inputs["without_memory"][0]:
            assert features.kind == "raw"
            features = encoded(features.frame, WITHOUT_MEMORY)
        return super()._mask_decoder({**inputs, "features": features})

    def _tracked_decoder(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The best alternative of what the prompted decoder says without a prompt."""
        side, slots = self.geometry.mask_size, self.geometry.prompt_slots
        label = np.zeros((1, slots, len(LABELS)), np.float32)
        label[0, :2, LABELS.index(-1)] = 1
        assert inputs["features"].kind == "fused"
        out = super()._mask_decoder(
            {
                "features": inputs["features"],
                "points": np.zeros((1, slots, 2), np.float32),
                "point_label": label,
                "mask_input": np.zeros((1, 1, side, side), np.float32),
                "mask_used": np.zeros(1, np.float32),
            }
        )
        best = 1 + int(np.argmax(out["iou"][0, 1:]))
        chosen = slice(best, best + 1)
        return {
            "mask_logits": out["mask_logits"][:, chosen],
            "iou": out["iou"][:, chosen],
            "mask_pointers": out["mask_pointers"][chosen],
            "presence": out["presence"],
        }
