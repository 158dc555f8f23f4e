"""The patch convolution as one matrix product whose rows are the tokens.

Patches do not overlap, so the image is cut into rows of 3 * 16 * 16 numbers by moving data only: a gather of lines of
16 pixels, which also brings the tokens into the order of the blocks and is several times faster than a transposition
of five axes.  Normalisation is folded into the weights, (x / 255 - mean) / std; bias and position embedding are one
table.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...model.efficienttam import IMAGE_MEAN, IMAGE_STD
from ...model.image_encoder import ViT


class PatchRows(nn.Module):
    """RGB 0..255 (1, 3, S, S) to tokens (N, C), position embedding added.

    order: (N,), the row-major index of the token at each position.
    """

    def __init__(self, trunk: ViT, grid: int, order: Tensor) -> None:
        super().__init__()
        weight = trunk.patch_embed.proj.weight.detach()
        width, channels, self.stride, _ = weight.shape
        mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (IMAGE_MEAN, IMAGE_STD))
        scaled = weight.double() / std
        bias = trunk.patch_embed.proj.bias.detach().double() - (scaled * mean).sum((1, 2, 3))
        table = trunk.position(grid).detach().double().flatten(2)[0].T + bias
        self.register_buffer("weight", (scaled / 255).view(width, -1).T.to(weight.dtype).contiguous())
        self.register_buffer("table", table[order].to(weight.dtype).contiguous())
        # Lines of one patch, for each channel and each of its rows: the first line of the patch and a distance from it.
        # Both are added up when the graph is loaded, so that a file does not hold an index of every line.
        first = order // grid * (self.stride * grid) + order % grid
        distance = torch.arange(channels)[:, None] * (grid * self.stride) + torch.arange(self.stride)
        self.register_buffer("first", first[:, None].to(torch.int32))
        self.register_buffer("distance", (distance * grid).reshape(1, -1).to(torch.int32))

    def forward(self, image: Tensor) -> Tensor:
        lines = torch.index_select(image.reshape(-1, self.stride), 0, (self.first + self.distance).reshape(-1))
        return torch.addmm(self.table, lines.reshape(len(self.table), -1), self.weight)
