"""What happens to one object on one frame: prompt or memory in, mask out.  Knows the rules of the decoder, keeps no
state.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..graphs.contract import memory_attention_name, memory_port
from .backend import Handle
from .holes import fill_holes
from .memory import MemoryRules, Recall
from .networks import Networks
from .prompts import NO_POINTS, Points, padded, point_ports
from .resize import resize

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Features:
    """An encoded frame: handles of the raw features and of the features without memory."""

    raw: Handle
    without_memory: Handle


@dataclass(frozen=True)
class Prediction:
    """One object on one frame.

    low_res: (S/4, S/4) mask logits, all at the absent logit when the object is not there.  pointer: (C,).
    presence: logit.
    iou: predicted IoU, 0..1.
    """

    low_res: Array
    pointer: Array
    presence: float
    iou: float


class Segmenter:
    """Runs the graphs of a bundle for one object at a time."""

    def __init__(self, networks: Networks) -> None:
        manifest = networks.manifest
        self.networks = networks
        self.geometry = manifest.geometry
        self.rules = manifest.rules
        self.size = manifest.geometry.image_size
        self._no_object_pointer = np.asarray(manifest.constants.no_object_pointer, np.float32)
        self._downsample = np.asarray(manifest.constants.mask_downsample, np.float32).reshape(4, 4)
        self._downsample_bias = np.float32(manifest.constants.mask_downsample_bias)
        self._no_mask = np.zeros((1, 1, self.geometry.mask_size, self.geometry.mask_size), np.float32)

    def memory_rules(self, prompted_frames: int = -1) -> MemoryRules:
        """The bundle's capacities, `prompted_frames` lowered to the bundle's when -1 or larger."""
        g = self.geometry
        most = g.prompted_frames if prompted_frames < 0 else min(prompted_frames, g.prompted_frames)
        return MemoryRules(g.recent_memories, g.recent_pointers, most)

    def encode(self, image: Array) -> Features:
        """Encode a (1, 3, S, S) input."""
        out = self.networks.runners["image_encoder"](image=image)
        return Features(out["features"], out["features_without_memory"])

    def attend(self, features: Features, recall: Recall[Handle, Prediction]) -> Handle:
        """Fuse features with memories, on the smallest graph that holds them; exactly one memory has its own graph."""
        g, used = self.geometry, len(recall.memories)
        slots = next(count for count in g.memory_counts if count >= used)
        row = np.zeros((slots, g.temporal_rows), np.float32)
        for slot, (_, temporal) in enumerate(recall.memories):
            row[slot, temporal] = 1
        pointers = np.zeros((g.pointer_slots, g.width), np.float32)
        pointer_used = np.zeros((g.pointer_slots, 1), np.float32)
        for slot, output in enumerate(recall.pointers):
            pointers[slot], pointer_used[slot] = output.pointer, 1
        filler = recall.memories[0][0]
        memories = {memory_port(slot): recall.memories[slot][0] if slot < used else filler for slot in range(slots)}
        run = self.networks.runners[memory_attention_name(slots)]
        return run(features=features.raw, memory_row=row, pointers=pointers, pointer_used=pointer_used, **memories)[
            "fused"
        ]

    def decode(self, features: Handle, points: Points, mask_input: Array | None = None) -> dict[str, Array]:
        """The decoder's raw outputs without the batch axis; `points` with its padding, `mask_input` (S/4, S/4)
        logits.
        """
        out = self.networks.runners["mask_decoder"](
            features=features,
            **point_ports(points, self.geometry),
            mask_input=self._no_mask
            if mask_input is None
            else np.ascontiguousarray(mask_input[None, None], np.float32),
            mask_used=np.asarray([mask_input is not None], np.float32),
        )
        return {
            "mask_logits": out["mask_logits"][0],
            "iou": out["iou"][0],
            "mask_pointers": out["mask_pointers"],
            "presence": out["presence"],
        }

    def segment(
        self,
        features: Features,
        points: Points,
        previous: Array | None = None,
        recall: Recall[Handle, Prediction] | None = None,
    ) -> Prediction:
        """One object on one frame.

        Args:
            features: of the frame.
            points: the prompt in model pixels, without padding; empty for a tracked frame.
            previous: (S/4, S/4) logits of an earlier answer on this frame, refined by the points.
            recall: what the object remembers; None for a first prompted frame.
        """
        fused = features.without_memory if recall is None else self.attend(features, recall)
        limit = self.rules.mask_input_limit
        out = self.decode(fused, padded(points), None if previous is None else np.clip(previous, -limit, limit))
        return self._choose(out, several=len(points) <= 1)

    def accept_mask(self, features: Features, mask: Array) -> Prediction:
        """Take a mask (S, S) of 0/1 as the answer; the decoder only makes its object pointer."""
        rules, side = self.rules, self.geometry.mask_size
        cells = mask.reshape(side, 4, side, 4)
        dense = np.einsum("yaxb,ab->yx", cells, self._downsample, optimize=True) + self._downsample_bias
        chosen = self._choose(self.decode(features.raw, padded(NO_POINTS), dense), several=False)
        visible = bool(mask.any())
        return Prediction(
            low_res=resize(
                mask * np.float32(rules.mask_scale) + np.float32(rules.mask_bias), side, side, antialias=True
            ),
            pointer=chosen.pointer if visible else self._no_object_pointer,
            presence=rules.mask_scale * visible + rules.mask_bias,
            iou=1.0,
        )

    def memorize(self, features: Features, low_res: Array, binarize: bool) -> Handle:
        """Write the memory of a frame from its mask logits (S/4, S/4)."""
        out = self.networks.runners["memory_encoder"](
            features=features.raw,
            mask_logits=np.ascontiguousarray(low_res[None, None]),
            binarize=np.asarray([binarize], np.float32),
        )
        return out["memory"]

    def fill_holes(self, low_res: Array, area: int) -> Array:
        """Fill background components of at most `area` low-resolution pixels."""
        return fill_holes(low_res, area, self.rules.hole_logit)

    def _choose(self, out: dict[str, Array], several: bool) -> Prediction:
        """Pick a mask and gate it by presence.

        With several masks the best predicted IoU wins.  A single mask that is not stable gives way to the best of the
        alternatives, while its own pointer stays.
        """
        index = pick_mask(
            out["mask_logits"], out["iou"], several, self.rules.stability_delta, self.rules.stability_threshold
        )
        presence = float(out["presence"][0])
        iou = float(out["iou"][index])
        if presence <= self.rules.presence_threshold:
            absent = np.full_like(out["mask_logits"][0], self.rules.absent_logit)
            return Prediction(absent, self._no_object_pointer, presence, iou)
        pointer = out["mask_pointers"][index if several else 0]
        return Prediction(out["mask_logits"][index].copy(), pointer.copy(), presence, iou)


def pick_mask(masks: Array, iou: Array, several: bool, delta: float, threshold: float) -> int:
    """Index of the mask to show, of (4, h, w) masks with predicted IoU (4,)."""
    best = 1 + int(np.argmax(iou[1:]))
    if several:
        return best
    union = int(np.count_nonzero(masks[0] > -delta))
    stability = np.count_nonzero(masks[0] > delta) / union if union else 1.0
    return 0 if stability >= threshold else best
