"""Teaches the image encoder which patches of two frames show the same point of the same thing.

Masks say little per clip; what is known about synthesised clips says it for every patch. The features are
trained to find, among all patches of another frame, the one that shows the same point: cross-entropy over
scaled cosines (van den Oord et al. 2018), with soft targets because points fall between patches.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TEMPERATURE = 0.07
SPREAD = 8.0  # pixels: standard deviation of the soft targets
REACH = 16.0  # pixels: a point further than this from the middle of every patch is not seen in the other frame


class Matching(nn.Module):
    """A projection of features (..., width) to unit vectors and the loss over them. Only used in training."""

    def __init__(self, width: int, size: int = 64) -> None:
        super().__init__()
        self.project = nn.Linear(width, size)

    def sum(self, features: Tensor, surfaces: Tensor) -> Tensor:
        """Every frame against the first and the one before it, summed over the `patches_seen`; scalar.

        `features` (B, T, width, g, g), `surfaces` (B, T, g, g, 3) as in `Clip`.
        """
        found = F.normalize(self.project(features.flatten(3).transpose(2, 3)).float(), dim=-1)
        here, there = _pairs(features.shape[1])
        logits = found[:, here] @ found[:, there].transpose(-1, -2) / TEMPERATURE
        target, seen = matches(*_places(surfaces))
        cost = -(target * logits.log_softmax(-1)).sum(-1)
        return (cost * seen).sum()


def _pairs(frames: int) -> tuple[list[int], list[int]]:
    pairs = [(t, 0) for t in range(1, frames)] + [(t, t - 1) for t in range(2, frames)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _places(surfaces: Tensor) -> tuple[Tensor, Tensor]:
    places = surfaces.flatten(2, 3)
    here, there = _pairs(surfaces.shape[1])
    return places[:, here], places[:, there]


@torch.no_grad()
def patches_seen(surfaces: Tensor) -> float:
    """How many patches of (B, T, g, g, 3) are seen in the frame they are compared with."""
    if surfaces.shape[1] < 2:
        return 0.0
    return float((_distances(*_places(surfaces)).min(-1).values < REACH).sum())


def _distances(here: Tensor, there: Tensor) -> Tensor:
    """Pixels between points (..., N, 3) and (..., M, 3), far for points of different things; (..., N, M)."""
    distance = torch.cdist(here[..., 1:], there[..., 1:], compute_mode="donot_use_mm_for_euclid_dist")
    return distance.masked_fill(here[..., :, None, 0] != there[..., None, :, 0], 1e4)


@torch.no_grad()
def matches(here: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """Soft targets (..., N, M) that sum to 1 and whether a patch is seen there at all (..., N), from (..., N, 3)."""
    distance = _distances(here, there)
    target = (-0.5 * (distance / SPREAD).square()).softmax(-1)
    return target, (distance.min(-1).values < REACH).float()
