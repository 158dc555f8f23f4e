"""The decoder's upscaling on rows of tokens, and the order that puts its rows back onto the image.

A transposed convolution of size 2 and stride 2 gives every cell four cells of its own: a product with a (C, 4 C')
matrix.  Two of them leave sixteen rows per cell, and only the finished masks, one number per row, are put in order.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...model.layers import ChannelNorm
from ...model.mask_decoder import MaskDecoder
from .gelu import gelu


def four_cells(convolution: nn.ConvTranspose2d) -> tuple[Tensor, Tensor]:
    """A 2x2 stride-2 transposed convolution as weight (C, 4 C') and bias (4 C',), rows of the 2x2 cells first."""
    weight = convolution.weight.detach().permute(0, 2, 3, 1).flatten(1).contiguous()
    assert convolution.bias is not None
    return weight, convolution.bias.detach().repeat(4)


class TokenUpscaling(nn.Module):
    """Cells (N, C) to (16 N, C / 8): per cell its 2x2 cells, per each of those its own 2x2."""

    def __init__(self, decoder: MaskDecoder) -> None:
        super().__init__()
        first, norm, _, second, _ = decoder.output_upscaling
        assert isinstance(first, nn.ConvTranspose2d) and isinstance(second, nn.ConvTranspose2d)
        assert isinstance(norm, ChannelNorm)
        for name, convolution in (("first", first), ("second", second)):
            weight, bias = four_cells(convolution)
            self.register_buffer(name, weight)
            self.register_buffer(f"{name}_bias", bias)
        self.norm, self.width = norm, second.out_channels

    def forward(self, image_nc: Tensor) -> Tensor:
        norm = self.norm
        x = torch.addmm(self.first_bias, image_nc, self.first).reshape(-1, norm.weight.shape[0])
        x = gelu(F.layer_norm(x, norm.weight.shape, norm.weight, norm.bias, norm.eps))
        return gelu(torch.addmm(self.second_bias, x, self.second)).reshape(-1, self.width)


def in_place(masks_kn: Tensor, grid: int) -> Tensor:
    """Masks (K, 16 N) in the order of `TokenUpscaling` as (1, K, 4 g, 4 g)."""
    cells = masks_kn.reshape(-1, grid, grid, 2, 2, 2, 2)  # mask, row, column, then row and column of each upscaling
    return cells.permute(0, 1, 3, 5, 2, 4, 6).reshape(1, -1, 4 * grid, 4 * grid)
