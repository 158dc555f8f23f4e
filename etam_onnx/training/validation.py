"""Held-out synthetic clips and how well a model tracks through them. Never reads evaluation sequences."""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..model import EfficientTAM
from .clips import Clip, ClipSource
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


def validation_clips(
    source: ClipSource, numbers: Iterable[int], size: int, frames: int, stride: int = 2
) -> list[tuple[int, Clip]]:
    """The same clips every time, with their numbers: `frames` frames `stride` time units apart, size x size."""
    times = range(0, frames * stride, stride)
    return [(number, source.make([VALIDATION_SEED, number], size, times, 1)) for number in numbers]


def _full_overlap(logits: Tensor, true: Tensor) -> Tensor:
    """IoU (B,) of logits (B, 1, h, h), enlarged, with boolean masks (B, S, S); 1 if both are empty."""
    predicted = F.interpolate(logits.float(), true.shape[-2:], mode="bilinear", align_corners=False)[:, 0] > 0
    both, either = (predicted & true).flatten(1).sum(1), (predicted | true).flatten(1).sum(1)
    return torch.where(either > 0, both / either.clamp(min=1), torch.ones(len(true), device=true.device))


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
    rows = torch.arange(len(frames), device=frames.device)
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
def sums(
    model: EfficientTAM, clips: Sequence[tuple[int, Clip]], batch: int = 8, half: bool = True
) -> list[tuple[float, int]]:
    """(sum, count) of each of the scores on numbered clips of one size and length, on the model's device.

    Only the first object of a clip is looked at. `half` runs the model under bfloat16 autocast. Parts of the
    clips may be judged by different processes and added up.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    found: list[list[Tensor]] = [[], [], []]
    with torch.autocast(device.type, torch.bfloat16) if half else nullcontext():
        for start in range(0, len(clips), batch):
            part = clips[start : start + batch]
            frames = torch.from_numpy(np.stack([c.frames for _, c in part])).permute(0, 1, 4, 2, 3).float().to(device)
            first = np.stack([c.masks[0, 0] for _, c in part])
            true = torch.from_numpy(np.stack([c.masks[0] for _, c in part])).to(device)
            if frames.shape[1] > 1:
                logits, presence = track(model, frames, true[:, :1].float())
                for index in range(logits.shape[1]):
                    found[0].append(_full_overlap(logits[:, index : index + 1], true[:, index + 1]))
                    found[2].append((presence[:, index] > 0) == true[:, index + 1].flatten(1).any(1))
            points = first_click(first, [np.random.default_rng([VALIDATION_SEED, number]) for number, _ in part])
            features = model.without_memory(model.encode_image(frames[:, 0]))
            out = model.decode(features, points.xy.to(device), points.labels.to(device))
            best = 1 + out.iou[:, 1:].argmax(1)
            rows = torch.arange(len(part), device=device)
            found[1].append(_full_overlap(out.mask_logits[rows, best][:, None], true[:, 0]))
    model.train(was_training)
    return [(float(torch.cat(v).double().sum()), sum(map(len, v))) if v else (0.0, 0) for v in found]


def scores_of(sums_and_counts: Sequence[tuple[float, float]]) -> Scores:
    """The means; nan where nothing was counted."""
    return Scores(*(total / count if count else float("nan") for total, count in sums_and_counts))
