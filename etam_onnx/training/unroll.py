"""The loss of a batch of clips: prompt the first frame, track through the rest, as the tracker will do it.

Knows the memory rules (rows by frame distance, raw features into memory, three masks without a prompt) but
nothing about schedules, files or processes. The encoder runs once per frame; everything else once per object.
S is the frame size in pixels, h = S / 4, C the model width.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..model.efficienttam import Decoded, EfficientTAM
from .batch import Batch
from .course import Course
from .losses import mask_loss, overlap_of, presence_loss
from .matching import Matching
from .prompts import Points, corrective_click, first_click, loose_box, uniform_click
from .recipes import Losses, Prompting
from .teacher import Distillation

PROMPTED_ROW = 6
RECENT_ROWS = 6
ABSENT_LOGIT = -32.0  # of a frame without the object; the runtime uses -1024, which trains badly in half precision


@dataclass
class Answer:
    """What a frame leaves behind: low-resolution logits (N, 1, h, h) and the pointer (N, C)."""

    logits: Tensor
    pointer: Tensor


@dataclass
class Remembered:
    """A memory (N, g * g, 64) with its pointer (N, C), frame time and whether the frame was prompted."""

    memory: Tensor
    pointer: Tensor
    time: int
    prompted: bool


@dataclass(frozen=True)
class Truth:
    """Of P frames of objects: `cells` (P, 1, h, h) covered shares, `masks` bool (P, S, S), `present` bool (P,)."""

    cells: Tensor
    masks: Tensor
    present: Tensor


class ClipLoss:
    """The terms of the loss of one batch. Create one per batch; `total` is what to differentiate.

    Every term is its sum over this batch times its weight, divided by `divisors[term]`, which counts the whole
    step (see `course.divisors`); so terms and gradients of the batches of a step add up.
    """

    def __init__(
        self,
        model: EfficientTAM,
        batch: Batch,
        course: Course,
        losses: Losses,
        prompting: Prompting,
        divisors: dict[str, float],
        matching: Matching | None = None,
    ) -> None:
        self.model, self.batch, self.course = model, batch, course
        self.losses, self.prompting, self.divisors = losses, prompting, divisors
        pixels = batch.frames.flatten(0, 1).permute(0, 3, 1, 2).float()
        self.encoded = model.encode_image(pixels).unflatten(0, batch.frames.shape[:2])
        self.device = pixels.device
        self.gates = losses.feedback and losses.presence > 0  # hides what is remembered where presence is denied
        self.cells = F.avg_pool2d(batch.masks.flatten(0, 1)[:, None].float(), 4).unflatten(0, batch.masks.shape[:2])
        self.present = torch.from_numpy(batch.present).to(self.device)
        zero = pixels.new_zeros(())
        self.terms: dict[str, Tensor] = {name: zero for name in divisors}
        self.overlap_sum, self.overlap_count = zero, zero
        if matching is not None and batch.surfaces is not None and len(batch.times) > 1:
            self._add("matching", losses.matching * matching.sum(self.encoded[batch.surfaced], batch.surfaces))

    def distil(self, distillation: Distillation, target: Tensor) -> None:
        """Adds what predicting the teacher's features (B, C, h, w) of the first frames costs."""
        self._add("teacher", self.losses.teacher * distillation.sum(self.encoded[:, 0], target))

    def total(self) -> Tensor:
        """The sum of all terms."""
        return torch.stack(list(self.terms.values())).sum()

    def _add(self, term: str, value: Tensor) -> None:
        self.terms[term] = self.terms[term] + value / max(self.divisors[term], 1.0)

    def _features(self, time: int) -> Tensor:
        """Raw features of a frame, once per object: (N, C, g, g)."""
        return self.encoded[self.batch.owner, time]

    def _truth(self, time: int | None) -> Truth:
        """Of all objects at one frame, or, without a time, at all frames, one after the other."""
        if time is None:
            return Truth(self.cells.flatten(0, 1), self.batch.masks.flatten(0, 1), self.present.flatten())
        return Truth(self.cells[:, time], self.batch.masks[:, time], self.present[:, time])

    def _costs(self, logits: Tensor, truth: Truth) -> tuple[Tensor, Tensor]:
        """Mask loss and overlap of logits (P, K, h, h) with the truth, each (P, K)."""
        if self.losses.soft:
            return self._compare(logits, truth.cells)
        # At full size every intermediate would be kept for the gradient; it is computed again instead.
        return checkpoint(self._compare_enlarged, logits, truth.masks, use_reentrant=False, preserve_rng_state=False)

    def _compare(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        rules = self.losses
        return mask_loss(logits, target, rules.focal, rules.dice, rules.focal_alpha), overlap_of(logits, target)

    def _compare_enlarged(self, logits: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        large = F.interpolate(logits.float(), masks.shape[-2:], mode="bilinear", align_corners=False)
        return self._compare(large, masks[:, None].float())

    def _judge(self, out: Decoded, truth: Truth, mode: str, weight: float) -> Tensor:
        """Adds the terms of decoded frames; returns the mask of each that a tracker would choose, (P,).

        `mode`: "several" (three masks after an ambiguous prompt), "tracked" (three without one), "single" (mask 0).
        """
        rules, present = self.losses, truth.present
        if mode == "single":
            chosen = torch.zeros(len(present), dtype=torch.long, device=self.device)
            costs, actual = self._costs(out.mask_logits[:, :1], truth)
            cost, error = costs[:, 0], (out.iou[:, 0].float() - actual[:, 0]).abs()
        else:
            others = rules.others_tracked if mode == "tracked" else rules.others
            first = 0 if others and mode == "tracked" else 1  # nothing else trains mask 0 while tracking
            costs, actual = self._costs(out.mask_logits[:, first:], truth)
            cost = (1 - others) * costs[:, 1 - first :].min(1).values
            if others:
                cost = cost + others * costs.mean(1)
            actual = actual[:, 1 - first :]
            error = (out.iou[:, 1:].float() - actual).abs().mean(1)
            best = out.iou[:, 1:].detach().argmax(1)
            chosen = 1 + best
            if mode == "tracked":
                self.overlap_sum = self.overlap_sum + (actual.gather(1, best[:, None])[:, 0] * present).sum()
                self.overlap_count = self.overlap_count + present.sum()
        self._add("mask", weight * (cost * present).sum())
        if rules.iou:
            self._add("iou", weight * rules.iou * (error * present).sum())
        self._judge_presence(out, present, weight)
        return chosen

    def _judge_presence(self, out: Decoded, present: Tensor, weight: float) -> None:
        if self.losses.presence:
            self._add("presence", weight * self.losses.presence * presence_loss(out.presence, present).sum())

    def _decode(self, fused: Tensor, time: int, mode: str, points: Points | None, mask_input: Tensor | None) -> Answer:
        """Decodes one frame of each object, adds its terms and returns the answer that a tracker would keep."""
        xy, labels = (None, None) if points is None else (points.xy.to(self.device), points.labels.to(self.device))
        out = self.model.decode(fused, xy, labels, mask_input)
        truth = self._truth(time)
        chosen = self._judge(out, truth, mode, 1.0)
        rows = torch.arange(len(chosen), device=self.device)
        shown = out.presence > 0 if self.gates else truth.present[:, None]
        logits = torch.where(shown[..., None, None], out.mask_logits[rows, chosen][:, None].float(), ABSENT_LOGIT)
        return Answer(logits, torch.where(shown, out.pointers[rows, chosen], self.model.no_obj_ptr))

    def _prompt_every_frame(self, kind: str) -> None:
        """Trains a click or a box on every frame by itself, as on single images; cheap beside the encoder."""
        true = self.batch.true.reshape(-1, *self.batch.true.shape[2:])
        frames = len(self.batch.times)
        points = self._first_points(kind, true, [rng for rng in self.batch.randoms for _ in range(frames)])
        fused = self.model.without_memory(self.encoded[self.batch.owner].flatten(0, 1))
        out = self.model.decode(fused, points.xy.to(self.device), points.labels.to(self.device))
        mode = "single" if kind == "box" else "several"
        self._judge(out, self._truth(None), mode, self.course.every_frame_weight)

    def _first_points(self, kind: str, true: np.ndarray, randoms: list[np.random.Generator]) -> Points:
        draw = loose_box if kind == "box" else first_click
        return draw(true, randoms, self.prompting.uniform)

    def _prompt_with_mask(self) -> Answer:
        """The given mask is the answer; its decoding may be trained a little, for the pointer and presence."""
        mask = self.batch.masks[:, :1].float()
        out = self.model.decode(self._features(0), mask_input=self.model.mask_downsample(mask))
        weight, truth = self.losses.mask_prompt, self._truth(0)
        if weight:
            costs, _ = self._costs(out.mask_logits[:, :1], truth)
            self._add("mask", weight * (costs[:, 0] * truth.present).sum())
            self._judge_presence(out, truth.present, 1.0)
        pointer = out.pointers[:, 0]
        if self.gates:
            pointer = torch.where(out.presence > 0, pointer, self.model.no_obj_ptr)
        return Answer(20 * truth.cells - 10, pointer)

    def _prompt_with_points(self, kind: str) -> Answer:
        fused = self.model.without_memory(self._features(0))
        points = self._first_points(kind, self.batch.true[:, 0], list(self.batch.randoms))
        answer = self._decode(fused, 0, "single" if len(points) > 1 else "several", points, None)
        return self._correct(answer, fused, 0, points)

    def _correct(self, answer: Answer, fused: Tensor, time: int, points: Points | None) -> Answer:
        """Clicks into the error and decodes again, as often as the course says for this frame."""
        for _ in range(self.course.clicks[time]):
            click = self._correction(answer, time)
            points = click if points is None else points.and_then(click)
            before = answer.logits if self.losses.feedback else answer.logits.detach()
            mode = "single" if len(points) > 1 else "several"
            answer = self._decode(fused, time, mode, points, before.clamp(-32, 32))
        return answer

    def _correction(self, answer: Answer, time: int) -> Points:
        logits, true = answer.logits.detach(), self.batch.true[:, time]
        if self.prompting.uniform:
            large = F.interpolate(logits, true.shape[-2:], mode="bilinear", align_corners=False)
            predicted = (large[:, 0] > 0).cpu().numpy()
            return uniform_click(predicted, true, self.prompting.from_truth, self.batch.randoms)
        low = (self.cells[:, time, 0] > 0.5).cpu().numpy()
        return corrective_click((logits[:, 0] > 0).cpu().numpy(), low, 4, self.batch.randoms)

    def run(self) -> "ClipLoss":
        """Prompts frame 0, tracks through the others and corrects some, following the course."""
        times, course = self.batch.times, self.course
        answer = self._prompt_with_mask() if course.kind == "mask" else self._prompt_with_points(course.kind)
        if course.every_frame is not None:
            self._prompt_every_frame(course.every_frame)
        remembered: list[Remembered] = []
        for index in range(1, len(times)):
            remembered.append(self._remember(answer, index - 1))
            fused = self._fuse(self._features(index), remembered, times[index])
            answer = self._decode(fused, index, "tracked", None, None)
            answer = self._correct(answer, fused, index, None)
        return self

    def _remember(self, answer: Answer, index: int) -> Remembered:
        """Writes memory. Masks that mean nothing yet would teach not to trust it, hence the taught frames."""
        logits = 20 * self.cells[:, index] - 10 if self.course.taught[index] else answer.logits
        prompted = index == 0 or self.course.clicks[index] > 0
        feedback = self.losses.feedback
        memory = self.model.encode_memory(
            self._features(index), logits if feedback else logits.detach(), prompted and not feedback
        )
        return Remembered(memory, answer.pointer, self.batch.times[index], prompted)

    def _fuse(self, features: Tensor, remembered: list[Remembered], time: int) -> Tensor:
        seen = [(m, PROMPTED_ROW if m.prompted else time - m.time - 1) for m in remembered]
        near = [(m, row) for m, row in seen if m.prompted or row < RECENT_ROWS]
        pointers = torch.stack([m.pointer for m in remembered], 1)
        return self.model.attend(features, [m.memory for m, _ in near], [row for _, row in near], pointers)
