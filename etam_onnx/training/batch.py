"""Clips of one step as tensors: the frames once per clip, the masks once per object, and who belongs to whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .schedule import StepPlan

if TYPE_CHECKING:
    from .clips import Clip

SMALLEST_VISIBLE = 32  # pixels, with soft targets: two low-resolution cells


@dataclass(frozen=True)
class Batch:
    """B clips of T frames with N objects in all.

    `frames` uint8 RGB (B, T, S, S, 3) and `masks` bool (N, T, S, S) on the device; `owner` int64 (N,) is the clip
    of each object. `true` is `masks` in numpy and `present` bool (N, T) says where an object is visible.
    `surfaces` float32 (M, T, S / 16, S / 16, 3) as in `Clip` belongs to the clips `surfaced` int64 (M,), those
    of which it is known. `randoms`: one generator per object, for its prompts. `times` in frames.
    """

    frames: Tensor
    masks: Tensor
    owner: Tensor
    surfaces: Tensor | None
    surfaced: Tensor
    true: np.ndarray
    present: np.ndarray
    randoms: tuple[np.random.Generator, ...]
    times: tuple[int, ...]

    @classmethod
    def of(
        cls,
        clips: Sequence[tuple[int, Clip]],
        plan: StepPlan,
        soft: bool,
        device: torch.device | None = None,
    ) -> Batch:
        """The batch of at least one numbered clip of a plan. `soft`: less than two cells are not visible."""
        device = device or torch.device("cpu")
        true = np.concatenate([clip.masks for _, clip in clips])
        owner = np.repeat(np.arange(len(clips)), [len(clip.masks) for _, clip in clips])
        known = [index for index, (_, clip) in enumerate(clips) if clip.surfaces is not None]
        surfaces = [clip.surfaces for _, clip in clips if clip.surfaces is not None]
        randoms = [plan.prompt_random(number, k) for number, clip in clips for k in range(len(clip.masks))]
        return cls(
            frames=_on(device, np.stack([clip.frames for _, clip in clips])),
            masks=_on(device, true),
            owner=_on(device, owner),
            surfaces=_on(device, np.stack(surfaces)) if surfaces else None,
            surfaced=_on(device, np.array(known, np.int64)),
            true=true,
            present=visible(true, soft),
            randoms=tuple(randoms),
            times=plan.times,
        )


def visible(masks: np.ndarray, soft: bool) -> np.ndarray:
    """Whether each mask (N, T, S, S) shows an object, bool (N, T)."""
    return np.count_nonzero(masks, axis=(2, 3)) >= (SMALLEST_VISIBLE if soft else 1)


def _on(device: torch.device, array: np.ndarray) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type == "cpu" or not array.size:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
