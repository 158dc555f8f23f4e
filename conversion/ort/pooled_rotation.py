"""Windows pooled before they are projected and turned, instead of after.

The mean over a 2x2 window of vectors u turned by angles a - h (left) and a + h (right) is, with c and s the averaged
cosine and sine, T the turn by a quarter, m the mean of u and d half the difference of its right and left means,

    turn(c, s) (m + tan(h) T d),

because (e^(i(a-h)) l + e^(i(a+h)) r) / 2 = cos(h) e^(ia) ((l + r) / 2 + i tan(h) (r - l) / 2) for every channel pair.
The axial embedding turns one half of the pairs along x and the other along y, with lower for right and upper for left.
u is a projection of memory and position, so m and d are projections of the window's mean and differences: a quarter
of the tokens is projected and turned.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...model.cross_attention import POOL

DIFFERENCES = 2
"""Differences of a window: right less left, lower less upper."""


def window_sums(x_1nc: Tensor, grid: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of every 2x2 window of (1, grid * grid, C) tokens: the sum, right less left, lower less upper.

    Returns:
        Each (1, grid * grid / 4, C); a quarter of the first is the mean.
    """
    half, channels = grid // POOL, x_1nc.shape[-1]
    upper, lower = x_1nc.reshape(half, POOL, half, POOL * channels).split(1, 1)
    left, right = (upper + lower).split(channels, 3)
    left_down, right_down = (lower - upper).split(channels, 3)
    tokens = (1, half * half, channels)
    return (
        (left + right).reshape(tokens),
        (right - left).reshape(tokens),
        (left_down + right_down).reshape(tokens),
    )


def window_weight(weight: Tensor) -> Tensor:
    """Weight (width, 3 * in) that takes [sum, right less left, lower less upper] of a window to m + tan(h) T d.

    Args:
        weight: (width, in) of the projection of single tokens, rotary pairs (2j, 2j + 1), in float64.
    """
    width = weight.shape[0]
    frequency = 10000.0 ** (-4 * np.arange(width // 4) / width)
    tan = torch.from_numpy(np.tan(frequency / 2)).repeat_interleave(2)[:, None]
    even, odd = weight[0::2], weight[1::2]
    quarter = torch.stack((-odd, even), 1).flatten(0, 1)
    half = width // 2
    along_x = torch.cat((quarter[:half] * tan, torch.zeros_like(quarter[half:])))
    along_y = torch.cat((torch.zeros_like(quarter[:half]), quarter[half:] * tan))
    return torch.cat((weight, along_x, along_y), 1) / POOL**2
