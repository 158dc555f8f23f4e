"""Position tables: sine position of a grid, rotary tables of a grid.  Pure functions of sizes, in float64 numpy."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@lru_cache(maxsize=32)
def sine_position(grid: int, channels: int) -> NDArray[np.float32]:
    """Sine position of a square grid as (channels, grid, grid); the first half of the channels encodes y, the second x.

    Cells are numbered from 1 and divided by the grid side, so the last cell sits at 2 pi (as in DETR's normalised
    form).
    """
    half = channels // 2
    index = np.arange(half)
    wavelength = 10000.0 ** (2 * (index // 2) / half)
    coordinate = np.arange(1, grid + 1) / (grid + 1e-6) * 2 * np.pi
    angle = coordinate[:, None] / wavelength
    line = np.where(index % 2 == 0, np.sin(angle), np.cos(angle))  # (grid, half)
    table = np.empty((channels, grid, grid))
    table[:half] = line.T[:, :, None]
    table[half:] = line.T[:, None, :]
    return table.astype(np.float32)


@lru_cache(maxsize=32)
def rotary_tables(grid: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cosine and sine of the axial rotary embedding, each (grid * grid, width / 2), rows in row-major token order.

    The first half of the channel pairs turns with x, the second half with y; pair j of a half has the frequency
    10000 ** (-4 j / width).
    """
    frequency = 10000.0 ** (-4 * np.arange(width // 4) / width)
    token = np.arange(grid * grid)
    angle = np.concatenate([(token % grid)[:, None] * frequency, (token // grid)[:, None] * frequency], axis=1)
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def sine_tokens(grid: int, channels: int, like: Tensor) -> Tensor:
    """`sine_position` as (grid * grid, channels) tokens on the device and in the dtype of `like`."""
    table = torch.from_numpy(sine_position(grid, channels).reshape(channels, -1).T.copy())
    return table.to(like)


def rotate_pairs(x_bnc: Tensor, grid: int) -> Tensor:
    """Apply the rotary embedding to channel pairs (2j, 2j + 1) of (B, grid * grid, C) tokens."""
    cos, sin = (torch.from_numpy(t).to(x_bnc) for t in rotary_tables(grid, x_bnc.shape[-1]))
    even, odd = x_bnc[..., 0::2], x_bnc[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)
