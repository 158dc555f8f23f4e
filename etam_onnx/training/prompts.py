"""Clicks and boxes drawn from true masks, as a user would give them: pixels (x, y) of the model frame.

Every mask has a random generator of its own, so what is drawn for an object does not depend on its neighbours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

Randoms = Sequence[np.random.Generator]
LARGEST_BOX_SHIFT = 20.0  # pixels, of a uniform box


@dataclass(frozen=True)
class Points:
    """`xy` float (B, N, 2) pixels; `labels` int (B, N): 1 positive, 0 negative, 2, 3 box corners, -1 none."""

    xy: Tensor
    labels: Tensor

    def and_then(self, more: "Points") -> "Points":
        return Points(torch.cat([self.xy, more.xy], 1), torch.cat([self.labels, more.labels], 1))

    def __len__(self) -> int:
        """Points per object."""
        return self.labels.shape[1]


def _inner_pixel(region: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
    """A random pixel (x, y) of a boolean (h, w) region, away from its edge."""
    padded = cv2.copyMakeBorder(region.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    inside = np.flatnonzero(depth >= depth.max() * rng.uniform(0.2, 1.0))
    y, x = divmod(int(rng.choice(inside)), region.shape[1])
    return x, y


def _any_pixel(region: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
    """A random pixel (x, y) of a boolean (h, w) region, all alike."""
    inside = np.flatnonzero(region)
    y, x = divmod(int(inside[rng.integers(len(inside))]), region.shape[1])
    return x, y


def first_click(masks: np.ndarray, randoms: Randoms, uniform: bool = False) -> Points:
    """One positive click inside each true mask, boolean (B, S, S); label -1 where a mask is empty."""
    xy, labels = np.zeros((len(masks), 1, 2), np.float32), np.full((len(masks), 1), -1)
    draw = _any_pixel if uniform else _inner_pixel
    for i, (mask, rng) in enumerate(zip(masks, randoms, strict=True)):
        if mask.any():
            xy[i, 0], labels[i, 0] = draw(mask, rng), 1
    return Points(torch.from_numpy(xy), torch.from_numpy(labels))


def corrective_click(predicted: np.ndarray, true: np.ndarray, cell: int, randoms: Randoms) -> Points:
    """A click where prediction and truth differ; missing and excess areas by their sizes.

    Both masks are boolean (B, h, w) at low resolution, one cell being `cell` pixels. Label -1 where the truth
    is empty.
    """
    xy, labels = np.zeros((len(true), 1, 2), np.float32), np.full((len(true), 1), -1)
    for i, rng in enumerate(randoms):
        if not true[i].any():
            continue
        missing, excess = true[i] & ~predicted[i], predicted[i] & ~true[i]
        wrong = int(missing.sum() + excess.sum())
        negative = wrong > 0 and rng.uniform() < excess.sum() / wrong
        region = excess if negative else (missing if missing.any() else true[i])
        x, y = _inner_pixel(region, rng)
        xy[i, 0] = (x + 0.5) * cell - 0.5, (y + 0.5) * cell - 0.5
        labels[i, 0] = 0 if negative else 1
    return Points(torch.from_numpy(xy), torch.from_numpy(labels))


def uniform_click(predicted: np.ndarray, true: np.ndarray, from_truth: float, randoms: Randoms) -> Points:
    """A click on any wrong pixel of boolean (B, S, S) masks, all alike, as SAM 2 trains.

    With chance `from_truth` on any pixel of the object, whatever was predicted. Where nothing is wrong: a negative
    click on the background, or a positive one if the object fills the frame.
    """
    xy, labels = np.zeros((len(true), 1, 2), np.float32), np.full((len(true), 1), -1)
    for i, rng in enumerate(randoms):
        region = true[i] ^ predicted[i]
        if rng.uniform() < from_truth and true[i].any():
            region = true[i]
        elif not region.any():
            region = true[i] if true[i].all() else ~true[i]
        x, y = _any_pixel(region, rng)
        xy[i, 0], labels[i, 0] = (x, y), int(true[i, y, x])
    return Points(torch.from_numpy(xy), torch.from_numpy(labels))


def loose_box(masks: np.ndarray, randoms: Randoms, uniform: bool = False) -> Points:
    """The bounding box of each true mask (B, S, S) as two corners, moved by up to a tenth of its sides.

    `uniform`: all moves alike, by at most LARGEST_BOX_SHIFT pixels; else small ones are more frequent.
    """
    size = masks.shape[-1]
    xy, labels = np.zeros((len(masks), 2, 2), np.float32), np.full((len(masks), 2), -1)
    for i, (mask, rng) in enumerate(zip(masks, randoms, strict=True)):
        if not mask.any():
            continue
        x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
        if uniform:
            noise = rng.uniform(-1, 1, (2, 2)) * np.minimum((0.1 * width, 0.1 * height), LARGEST_BOX_SHIFT)
        else:
            noise = rng.normal(0, 0.04, (2, 2)).clip(-0.1, 0.1) * (width, height)
        corners = np.array([[x, y], [x + width - 1, y + height - 1]]) + noise
        xy[i], labels[i] = corners.clip(0, size - 1), (2, 3)
    return Points(torch.from_numpy(xy), torch.from_numpy(labels))
