"""The patch convolution as one matrix product whose rows are the tokens.

Patches do not overlap, so the image is cut into rows of 3 * 16 * 16 numbers by moving data only.  Normalisation is
folded into the weights, (x / 255 - mean) / std; bias and position embedding are one table.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...model.efficienttam import IMAGE_MEAN, IMAGE_STD
from ...model.image_encoder import ViT


class PatchRows(nn.Module):
    """RGB 0..255 (1, 3, S, S) to row-major tokens (N, C), position embedding added."""

    def __init__(self, trunk: ViT, grid: int) -> None:
        super().__init__()
        weight = trunk.patch_embed.proj.weight.detach()
        width, _, self.stride, _ = weight.shape
        self.grid = grid
        mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (IMAGE_MEAN, IMAGE_STD))
        scaled = weight.double() / std
        bias = trunk.patch_embed.proj.bias.detach().double() - (scaled * mean).sum((1, 2, 3))
        table = trunk.position(grid).detach().double().flatten(2)[0].T + bias
        self.register_buffer("weight", (scaled / 255).view(width, -1).T.to(weight.dtype).contiguous())
        self.register_buffer("table", table.to(weight.dtype).contiguous())

    def forward(self, image: Tensor) -> Tensor:
        cut = image.view(3, self.grid, self.stride, self.grid, self.stride).permute(1, 3, 0, 2, 4)
        return torch.addmm(self.table, cut.reshape(self.grid * self.grid, -1), self.weight)
