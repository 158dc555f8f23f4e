"""The image encoder without large kernels, without rank above 4 and without padding operators."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...model.efficienttam import IMAGE_MEAN, IMAGE_STD, EfficientTAM
from ...model.image_encoder import Block

CELL = 4
"""Side of the first of the two convolutions that a patch convolution is split into."""


def fold_normalisation(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """A convolution on RGB 0..255 that equals `weight`, `bias` on the normalised image (no padding involved)."""
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (IMAGE_MEAN, IMAGE_STD))
    folded = weight.double() / (255 * std)
    return folded.float(), (bias.double() - (weight.double() * mean / std).sum((1, 2, 3))).float()


def split_patch_convolution(weight: Tensor, bias: Tensor) -> nn.Sequential:
    """A stride-16 16x16 convolution as a one-hot 4x4/4 convolution followed by a 4x4/4 one; exact."""
    out, channels, size, _ = weight.shape
    rows = size // CELL
    inner = channels * CELL * CELL
    gather = nn.Conv2d(channels, inner, CELL, CELL, bias=False)
    gather.weight.data = torch.eye(inner).view(inner, channels, CELL, CELL)
    project = nn.Conv2d(inner, out, rows, rows)
    cells = weight.view(out, channels, rows, CELL, rows, CELL).permute(0, 1, 3, 5, 2, 4)
    project.weight.data = cells.reshape(out, inner, rows, rows).contiguous()
    project.bias.data = bias.clone()
    return nn.Sequential(gather, project)


class PortableBlock(nn.Module):
    """A transformer block on a (g, g, C) map."""

    def __init__(self, block: Block, grid: int) -> None:
        super().__init__()
        self.block = block
        self.grid = grid
        self.window = block.window or grid
        self.extra = -grid % self.window
        self.heads = block.attn.heads
        self.width = block.attn.proj.in_features
        for name, part in zip("qkv", block.attn.qkv.weight.chunk(3), strict=True):
            self.register_buffer(f"{name}_weight", part.detach().T.contiguous())
        for name, part in zip("qkv", block.attn.qkv.bias.chunk(3), strict=True):
            self.register_buffer(f"{name}_bias", part.detach().clone())
        if self.extra:
            self.register_buffer("right", torch.zeros(grid, self.extra, self.width))
            self.register_buffer("below", torch.zeros(self.extra, grid + self.extra, self.width))
        self.scale = (self.width // self.heads) ** -0.5

    def heads_first(self, x_bnc: Tensor) -> Tensor:
        b, n, _ = x_bnc.shape
        return x_bnc.reshape(b, n, self.heads, self.width // self.heads).transpose(1, 2)

    def attend(self, x_bnc: Tensor) -> Tensor:
        b, n, c = x_bnc.shape
        q = self.heads_first((x_bnc @ self.q_weight + self.q_bias) * self.scale)
        k = self.heads_first(x_bnc @ self.k_weight + self.k_bias)
        v = self.heads_first(x_bnc @ self.v_weight + self.v_bias)
        out = torch.softmax(q @ k.transpose(2, 3), -1) @ v
        return self.block.attn.proj(out.transpose(1, 2).reshape(b, n, c))

    def attend_in_windows(self, x_hwc: Tensor) -> Tensor:
        size, side, c = self.window, self.grid + self.extra, self.width
        if self.extra:
            x_hwc = torch.cat((torch.cat((x_hwc, self.right), 1), self.below), 0)
        count = side // size
        rows = x_hwc.reshape(count, size, count, size * c).transpose(1, 2)
        out = self.attend(rows.reshape(count * count, size * size, c))
        rows = out.reshape(count, count, size, size * c).transpose(1, 2)
        return rows.reshape(side, side, c)[: self.grid, : self.grid]

    def forward(self, x_bnc: Tensor) -> Tensor:
        y = self.block.norm1(x_bnc)
        if self.block.window:
            grid = (self.grid, self.grid, self.width)
            y = self.attend_in_windows(y.reshape(grid)).reshape(1, self.grid * self.grid, self.width)
        else:
            y = self.attend(y)
        x_bnc = x_bnc + y
        return x_bnc + self.block.mlp(self.block.norm2(x_bnc))


class PortableImageEncoder(nn.Module):
    """RGB 0..255 (1, 3, S, S) to raw features and features plus the no-memory embedding."""

    def __init__(self, model: EfficientTAM) -> None:
        super().__init__()
        trunk, grid = model.image_encoder.trunk, model.config.grid
        proj = trunk.patch_embed.proj
        self.patch = split_patch_convolution(*fold_normalisation(proj.weight.detach(), proj.bias.detach()))
        self.register_buffer("position", trunk.position(grid).detach())
        self.blocks = nn.ModuleList(PortableBlock(block, grid) for block in trunk.blocks)
        self.neck = model.image_encoder.neck
        self.no_memory = model.no_mem_embed
        self.shape = (1, model.config.vit_width, grid, grid)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = (self.patch(image) + self.position).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        features = self.neck(x.transpose(1, 2).reshape(self.shape))
        return features, features + self.no_memory.reshape(1, -1, 1, 1)
