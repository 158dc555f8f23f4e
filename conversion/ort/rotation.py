"""Rotary embedding as one operator: channel pairs (2j, 2j + 1), trailing columns left as they are."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...model import position
from .operators import DOMAIN


def turn(x_bnc: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs of (B, N, width + columns) tokens, token n by row n of tables (N, width / 2) of cosines and sines.

    The rows need not be points of the unit circle: averaged cosines and sines turn and shrink.
    """
    width = 2 * cos.shape[1]
    if torch.onnx.is_in_onnx_export():
        return torch.onnx.ops.symbolic(
            f"{DOMAIN}::RotaryEmbedding",
            (x_bnc, torch.zeros(1, dtype=torch.int64), cos, sin),
            {"interleaved": 1, "num_heads": 1, "rotary_embedding_dim": width},
            dtype=x_bnc.dtype,
            shape=tuple(x_bnc.shape),
            version=1,
        )
    even, odd = x_bnc[..., 0:width:2], x_bnc[..., 1:width:2]
    turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)
    return torch.cat((turned, x_bnc[..., width:]), -1)


class Rotation(nn.Module):
    """`turn` by a constant table."""

    def __init__(self, cos: Tensor, sin: Tensor) -> None:
        super().__init__()
        self.register_buffer("cos", cos)
        self.register_buffer("sin", sin)

    def forward(self, x_bnc: Tensor) -> Tensor:
        return turn(x_bnc, self.cos, self.sin)


def rotary_table(grid: int, width: int, window: int = 1) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary embedding, each (cells, width / 2) in float64, cells row-major.

    With a `window` they are averages over windows of that side: the mean of a constant vector turned at every cell of a
    window is that vector turned by the averaged table.
    """
    side = grid // window
    cos, sin = (
        torch.from_numpy(table).double().reshape(side, window, side, window, -1).mean((1, 3)).flatten(0, 1)
        for table in position.rotary_tables(grid, width)
    )
    return cos, sin
