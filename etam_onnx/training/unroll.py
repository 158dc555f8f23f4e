"""The loss of a batch of clips: prompt the first frame, track through the rest, as the tracker will do it.

Knows the memory rules (rows by frame distance, raw features into memory, three masks without a prompt) but
nothing about schedules or files. S is the frame size in pixels, h = S / 4, C the model width.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..model.efficienttam import Decoded, EfficientTAM
from .losses import mask_loss, mean_where, overlap_of, presence_loss
from .prompts import Points, corrective_click, first_click, loose_box

PROMPTED_ROW = 6
RECENT_ROWS = 6
ABSENT_LOGIT = -32.0  # of a frame without the object; the runtime uses -1024, which trains badly in half precision
KINDS = ("mask", "click", "box")
KIND_SHARES = (0.7, 0.2, 0.1)
CORRECTION_SHARE = 0.12


@dataclass(frozen=True)
class Batch:
    """`frames` uint8 RGB (B, T, S, S, 3), `masks` bool (B, T, S, S), `times` in frames, shared by all."""

    frames: Tensor
    masks: Tensor
    times: tuple[int, ...]


@dataclass
class Answer:
    """What a frame leaves behind: low-resolution logits (B, 1, h, h) and the pointer (B, C)."""

    logits: Tensor
    pointer: Tensor


@dataclass
class Remembered:
    """A memory (B, g * g, 64) with its pointer (B, C), frame time and whether the frame was prompted."""

    memory: Tensor
    pointer: Tensor
    time: int
    prompted: bool


class ClipLoss:
    """Accumulates the terms of one batch. Create one per step; `total` is what to differentiate."""

    def __init__(self, model: EfficientTAM, batch: Batch, rng: np.random.Generator, teaching: float = 0.0) -> None:
        """`teaching`: share of the frames whose memory is written from the true mask instead of the predicted."""
        self.model, self.batch, self.rng, self.teaching = model, batch, rng, teaching
        pixels = batch.frames.flatten(0, 1).permute(0, 3, 1, 2).float()
        count = batch.frames.shape[:2]
        self.features = model.encode_image(pixels).unflatten(0, count)
        self.targets = F.avg_pool2d(batch.masks.flatten(0, 1)[:, None].float(), 4).unflatten(0, count)
        self.present = self.targets.flatten(2).sum(2) >= 2  # (B, T); fewer cells are no visible object
        self.true = batch.masks.numpy()
        self.terms: dict[str, list[Tensor]] = {"mask": [], "iou": [], "presence": []}
        self.tracked_overlap: list[Tensor] = []

    def total(self) -> Tensor:
        """Mean over the decoded frames of mask loss + IoU error + presence loss."""
        return sum((torch.stack(values).mean() for values in self.terms.values()), torch.zeros(()))

    def overlap(self) -> float:
        """Mean IoU of the chosen masks over tracked frames that show the object."""
        return float(torch.stack(self.tracked_overlap).mean()) if self.tracked_overlap else float("nan")

    def _judge(self, out: Decoded, target: Tensor, present: Tensor, mode: str) -> Tensor:
        """Adds the terms of decoded frames; returns the mask of each that a tracker would choose, (B,).

        `mode`: "several" (three masks, only the best is corrected), "tracked" (all are), "single" (mask 0).
        """
        costs, actual = mask_loss(out.mask_logits, target), overlap_of(out.mask_logits, target)
        errors = (out.iou.float() - actual).abs()
        if mode == "single":
            chosen = torch.zeros(len(costs), dtype=torch.long)
            cost, error = costs[:, 0], errors[:, 0]
        else:
            chosen = 1 + out.iou[:, 1:].detach().argmax(1)
            best, error = costs[:, 1:].min(1).values, errors[:, 1:].mean(1)
            tracked = mode == "tracked"
            cost = 0.5 * best + 0.5 * costs.mean(1) if tracked else 0.95 * best + 0.05 * costs[:, 1:].mean(1)
            if tracked and present.any():
                self.tracked_overlap.append(mean_where(actual[torch.arange(len(costs)), chosen], present))
        self.terms["presence"].append(presence_loss(out.presence, present).mean())
        self.terms["mask"].append(mean_where(cost, present))
        self.terms["iou"].append(mean_where(error, present))
        return chosen

    def _decode(self, fused: Tensor, time: int, mode: str, points: Points | None, mask_input: Tensor | None) -> Answer:
        """Decodes one frame of each clip, adds its terms and returns the answer that a tracker would keep."""
        xy, labels = (None, None) if points is None else (points.xy, points.labels)
        out = self.model.decode(fused, xy, labels, mask_input)
        present = self.present[:, time]
        chosen = self._judge(out, self.targets[:, time], present, mode)
        rows, shown = torch.arange(len(chosen)), present[:, None]
        logits = torch.where(shown[..., None, None], out.mask_logits[rows, chosen][:, None].float(), ABSENT_LOGIT)
        return Answer(logits, torch.where(shown, out.pointers[rows, chosen], self.model.no_obj_ptr))

    def _prompt_every_frame(self, kind: str) -> None:
        """Trains a click or a box on every frame by itself, as on single images; cheap beside the encoder."""
        fused, true = (
            self.model.without_memory(self.features.flatten(0, 1)),
            self.true.reshape(-1, *self.true.shape[2:]),
        )
        points = loose_box(true, self.rng) if kind == "box" else first_click(true, self.rng)
        out = self.model.decode(fused, points.xy, points.labels)
        mode = "single" if kind == "box" else "several"
        self._judge(out, self.targets.flatten(0, 1), self.present.flatten(0, 1), mode)

    def _prompt_with_mask(self) -> Answer:
        """The given mask is the answer; its decoding is trained a little, for the pointer and presence."""
        mask = self.batch.masks[:, :1].float()
        out = self.model.decode(self.features[:, 0], mask_input=self.model.mask_downsample(mask))
        present = self.present[:, 0]
        self.terms["presence"].append(presence_loss(out.presence, present).mean())
        self.terms["mask"].append(
            0.3 * mean_where(mask_loss(out.mask_logits[:, :1], self.targets[:, 0])[:, 0], present)
        )
        return Answer(20 * self.targets[:, 0] - 10, out.pointers[:, 0])

    def _prompt_with_points(self, kind: str) -> Answer:
        fused, true = self.model.without_memory(self.features[:, 0]), self.true[:, 0]
        if kind == "box":
            points = loose_box(true, self.rng)
            return self._decode(fused, 0, "single", points, None)
        points = first_click(true, self.rng)
        answer = self._decode(fused, 0, "several", points, None)
        for _ in range(int(self.rng.choice(3, p=(0.6, 0.25, 0.15)))):
            points = points.and_then(self._correction(answer, 0))
            answer = self._decode(fused, 0, "single", points, answer.logits.detach().clamp(-32, 32))
        return answer

    def _correction(self, answer: Answer, time: int) -> Points:
        predicted = (answer.logits.detach()[:, 0] > 0).numpy()
        return corrective_click(predicted, (self.targets[:, time, 0] > 0.5).numpy(), 4, self.rng)

    def run(self, kind: str, correct_at: int | None = None) -> "ClipLoss":
        """Prompts frame 0 with a mask, clicks or a box and tracks; corrects frame `correct_at` by a click."""
        times = self.batch.times
        if kind == "mask":
            answer = self._prompt_with_mask()
            self._prompt_every_frame("box" if self.rng.uniform() < 0.4 else "click")
        else:
            answer = self._prompt_with_points(kind)
        memory = self.model.encode_memory(self.features[:, 0], self._kept(answer, 0), True)
        remembered = [Remembered(memory, answer.pointer, times[0], True)]
        for index in range(1, len(times)):
            features = self.features[:, index]
            fused = self._fuse(features, remembered, times[index])
            answer = self._decode(fused, index, "tracked", None, None)
            corrected = index == correct_at
            if corrected:
                click, before = self._correction(answer, index), answer.logits.detach().clamp(-32, 32)
                answer = self._decode(fused, index, "several", click, before)
            if index + 1 < len(times):
                memory = self.model.encode_memory(features, self._kept(answer, index), corrected)
                remembered.append(Remembered(memory, answer.pointer, times[index], corrected))
        return self

    def _kept(self, answer: Answer, time: int) -> Tensor:
        """The logits that memory is written from. Masks that mean nothing yet would teach not to trust memory."""
        if self.rng.uniform() < self.teaching:
            return 20 * self.targets[:, time] - 10
        return answer.logits.detach()

    def _fuse(self, features: Tensor, remembered: list[Remembered], time: int) -> Tensor:
        seen = [(m, PROMPTED_ROW if m.prompted else time - m.time - 1) for m in remembered]
        near = [(m, row) for m, row in seen if m.prompted or row < RECENT_ROWS]
        pointers = torch.stack([m.pointer for m in remembered], 1)
        return self.model.attend(features, [m.memory for m, _ in near], [row for _, row in near], pointers)


def draw_kind(rng: np.random.Generator, frames: int) -> tuple[str, int | None]:
    """How this step prompts: one of KINDS, and the index of a corrected frame or None."""
    kind = KINDS[int(rng.choice(len(KINDS), p=KIND_SHARES))]
    corrected = frames > 2 and rng.uniform() < CORRECTION_SHARE
    return kind, int(rng.integers(1, frames)) if corrected else None
