"""Held-out synthetic clips and how well a model tracks through them. Never reads evaluation sequences."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..model import EfficientTAM
from .clips import Clip, ClipMaker
from .images import MaskedImage
from .prompts import first_click
from .unroll import ABSENT_LOGIT, PROMPTED_ROW, RECENT_ROWS

VALIDATION_SEED = 20_240_917
POINTERS = 15


@dataclass(frozen=True)
class Scores:
    """`tracking`: mean IoU over tracked frames after a mask prompt; `click`: over first frames, one click;
    `presence`: share of tracked frames whose presence is judged rightly."""

    tracking: float
    click: float
    presence: float


def validation_clips(images: Sequence[MaskedImage], count: int, size: int, frames: int, stride: int = 2) -> list[Clip]:
    """The same clips every time: `count` clips of `frames` frames `stride` time units apart, size x size."""
    maker = ClipMaker(images)
    times = range(0, frames * stride, stride)
    return [maker.make([VALIDATION_SEED, index], size, times) for index in range(count)]


def _full_overlap(logits: Tensor, true: Tensor) -> Tensor:
    """IoU (B,) of logits (B, 1, h, h), enlarged, with boolean masks (B, S, S); 1 if both are empty."""
    predicted = F.interpolate(logits.float(), true.shape[-2:], mode="bilinear", align_corners=False)[:, 0] > 0
    both, either = (predicted & true).flatten(1).sum(1), (predicted | true).flatten(1).sum(1)
    return torch.where(either > 0, both / either.clamp(min=1), torch.ones(len(true)))


def track(model: EfficientTAM, frames: Tensor, first_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Tracks by the tracker's rules: frames (B, T, 3, S, S) RGB 0..255, first_mask (B, 1, S, S) 0 or 1.

    Returns logits (B, T - 1, S/4, S/4) and presence logits (B, T - 1) of the frames after the first.
    """
    features = model.encode_image(frames[:, 0])
    low, pointer, _ = model.prompt_with_mask(features, first_mask)
    prompted = model.encode_memory(features, low, True)
    recent: list[Tensor] = []
    pointers = [pointer]
    all_logits, all_presence = [], []
    rows = torch.arange(len(frames))
    for index in range(1, frames.shape[1]):
        features = model.encode_image(frames[:, index])
        newest_first = recent[::-1][:RECENT_ROWS]
        chosen_pointers = torch.stack([pointers[0], *pointers[1:][-POINTERS:]], 1)
        memories, where = [prompted, *newest_first], [PROMPTED_ROW, *range(len(newest_first))]
        out = model.decode(model.attend(features, memories, where, chosen_pointers))
        best = 1 + out.iou[:, 1:].argmax(1)
        seen = out.presence > 0
        logits = torch.where(seen[..., None], out.mask_logits[rows, best].float(), ABSENT_LOGIT)
        pointers.append(torch.where(seen, out.pointers[rows, best], model.no_obj_ptr))
        recent.append(model.encode_memory(features, logits[:, None], False))
        all_logits.append(logits)
        all_presence.append(out.presence[:, 0].float())
    return torch.stack(all_logits, 1), torch.stack(all_presence, 1)


@torch.no_grad()
def validate(model: EfficientTAM, clips: Sequence[Clip], batch: int = 8, half: bool = True) -> Scores:
    """Scores of a model on clips of one size and length; `half` runs it under bfloat16 autocast."""
    was_training = model.training
    model.eval()
    overlaps, clicks, presences = [], [], []
    rng = np.random.default_rng(VALIDATION_SEED)
    with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
        for start in range(0, len(clips), batch):
            part = clips[start : start + batch]
            frames = torch.from_numpy(np.stack([c.frames for c in part])).permute(0, 1, 4, 2, 3).float()
            true = torch.from_numpy(np.stack([c.masks for c in part]))
            logits, presence = track(model, frames, true[:, :1].float())
            for index in range(logits.shape[1]):
                overlaps.append(_full_overlap(logits[:, index : index + 1], true[:, index + 1]))
                presences.append((presence[:, index] > 0) == true[:, index + 1].flatten(1).any(1))
            points = first_click(true[:, 0].numpy(), rng)
            out = model.decode(model.without_memory(model.encode_image(frames[:, 0])), points.xy, points.labels)
            best = 1 + out.iou[:, 1:].argmax(1)
            clicks.append(_full_overlap(out.mask_logits[torch.arange(len(part)), best][:, None], true[:, 0]))
    model.train(was_training)
    return Scores(*(float(torch.cat(values).float().mean()) for values in (overlaps, clicks, presences)))
