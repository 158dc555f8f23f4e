"""What happens to one object on one frame: prompt or memory in, mask out.  Knows the rules of the decoder, keeps no
state.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .holes import fill_holes
from .memory import MemoryRules, Recall
from .networks import Networks
from .pipeline import Array, Candidates, Features, Memory
from .prompts import Points, padded
from .resize import resize


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
        self.pipeline = networks.pipeline()
        self.geometry = manifest.geometry
        self.rules = manifest.rules
        self.size = manifest.geometry.image_size
        self._no_object_pointer = np.asarray(manifest.constants.no_object_pointer, np.float32)
        self._downsample = np.asarray(manifest.constants.mask_downsample, np.float32).reshape(4, 4)
        self._downsample_bias = np.float32(manifest.constants.mask_downsample_bias)

    def memory_rules(self, prompted_frames: int = -1) -> MemoryRules:
        """The bundle's capacities, `prompted_frames` lowered to the bundle's when -1 or larger."""
        g = self.geometry
        most = g.prompted_frames if prompted_frames < 0 else min(prompted_frames, g.prompted_frames)
        return MemoryRules(g.recent_memories, g.recent_pointers, most)

    def encode(self, image: Array) -> Features:
        """Encode a (1, 3, S, S) input."""
        return self.pipeline.encode(image)

    def segment(
        self,
        features: Features,
        points: Points,
        previous: Array | None = None,
        recall: Recall[Memory, Prediction] | None = None,
    ) -> Prediction:
        """One object on one frame.

        Args:
            features: of the frame.
            points: the prompt in model pixels, without padding; empty for a tracked frame.
            previous: (S/4, S/4) logits of an earlier answer on this frame, refined by the points.
            recall: what the object remembers; None for a first prompted frame.
        """
        read = None if recall is None else Recall(recall.memories, tuple(p.pointer for p in recall.pointers))
        if read is not None and not len(points) and previous is None:
            return self._choose(self.pipeline.track(features, read), several=True)
        limit = self.rules.mask_input_limit
        mask_input = None if previous is None else np.clip(previous, -limit, limit)
        out = self.pipeline.answer(features, padded(points), mask_input, read)
        return self._choose(out, several=len(points) <= 1)

    def accept_mask(self, features: Features, mask: Array) -> Prediction:
        """Take a mask (S, S) of 0/1 as the answer; the decoder only makes its object pointer."""
        rules, side = self.rules, self.geometry.mask_size
        cells = mask.reshape(side, 4, side, 4)
        dense = np.einsum("yaxb,ab->yx", cells, self._downsample, optimize=True) + self._downsample_bias
        chosen = self._choose(self.pipeline.describe(features, dense), several=False)
        visible = bool(mask.any())
        return Prediction(
            low_res=resize(
                mask * np.float32(rules.mask_scale) + np.float32(rules.mask_bias), side, side, antialias=True
            ),
            pointer=chosen.pointer if visible else self._no_object_pointer,
            presence=rules.mask_scale * visible + rules.mask_bias,
            iou=1.0,
        )

    def memorize(self, features: Features, low_res: Array, binarize: bool) -> Memory:
        """Write the memory of a frame from its mask logits (S/4, S/4)."""
        return self.pipeline.memorize(features, low_res, binarize)

    def fill_holes(self, low_res: Array, area: int) -> Array:
        """Fill background components of at most `area` low-resolution pixels."""
        return fill_holes(low_res, area, self.rules.hole_logit)

    def _choose(self, out: Candidates, several: bool) -> Prediction:
        """Pick a mask and gate it by presence.

        With several masks the best predicted IoU wins.  A single mask that is not stable gives way to the best of the
        alternatives, while its own pointer stays.
        """
        index = pick_mask(out.mask_logits, out.iou, several, self.rules.stability_delta, self.rules.stability_threshold)
        iou = float(out.iou[index])
        if out.presence <= self.rules.presence_threshold:
            absent = np.full_like(out.mask_logits[0], self.rules.absent_logit)
            return Prediction(absent, self._no_object_pointer, out.presence, iou)
        pointer = out.pointers[index if several else 0]
        return Prediction(out.mask_logits[index].copy(), pointer.copy(), out.presence, iou)


def pick_mask(masks: Array, iou: Array, several: bool, delta: float, threshold: float) -> int:
    """Index of the mask to show, of (K, h, w) masks with predicted IoU (K,): the single mask and its alternatives, or
    with K = 1 one that has been chosen already.
    """
    if len(masks) == 1:
        return 0
    best = 1 + int(np.argmax(iou[1:]))
    if several:
        return best
    union = int(np.count_nonzero(masks[0] > -delta))
    stability = np.count_nonzero(masks[0] > delta) / union if union else 1.0
    return 0 if stability >= threshold else best
