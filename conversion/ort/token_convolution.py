"""A 3x3 convolution over a map of tokens in any order as one gather and one matrix product.

Every token of the output reads nine tokens, or a row of zeros outside the map.  The gather that brings them side by
side also brings them from the order they have into row-major order, so neither a map nor a transposition is needed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def neighbours(grid: int, order: Tensor) -> Tensor:
    """For every row-major token the positions of its nine neighbours, row by row; N outside the map.

    Args:
        order: (N,), the row-major index of the token at each position.

    Returns:
        int64 (N * 9,).
    """
    position = torch.empty_like(order)
    position[order] = torch.arange(len(order))
    padded = F.pad(position.view(grid, grid), (1, 1, 1, 1), value=len(order))
    return padded.unfold(0, 3, 1).unfold(1, 3, 1).reshape(-1)


class TokenConvolution(nn.Module):
    """Tokens (N, C) in the given order to row-major tokens (N, C'), 3x3, padding 1, without bias."""

    def __init__(self, convolution: nn.Conv2d, grid: int, order: Tensor) -> None:
        super().__init__()
        weight = convolution.weight.detach()
        out, inner = weight.shape[:2]
        self.register_buffer("weight", weight.permute(2, 3, 1, 0).reshape(9 * inner, out).contiguous())
        self.register_buffer("outside", torch.zeros(1, inner, dtype=weight.dtype))
        self.register_buffer("index", neighbours(grid, order))

    def forward(self, x_nc: Tensor) -> Tensor:
        rows = torch.index_select(torch.cat((x_nc, self.outside)), 0, self.index)
        return rows.reshape(len(x_nc), -1) @ self.weight
