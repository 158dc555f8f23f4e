"""The image encoder: a plain ViT with windowed and global blocks, and the convolutional neck behind it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ModelConfig
from .layers import MLP, ChannelNorm

PRETRAIN_GRID = 14
"""Side of the grid on which position embeddings are stored (one class row precedes them and is never used)."""


class Attention(nn.Module):
    """Multi-head self-attention over (B, N, C) tokens with one fused projection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x_bnc: Tensor) -> Tensor:
        b, n, c = x_bnc.shape
        q, k, v = (t.reshape(b, n, self.heads, -1).transpose(1, 2) for t in self.qkv(x_bnc).chunk(3, -1))
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c))


class Block(nn.Module):
    """Pre-norm transformer block on a (B, H, W, C) map; `window` 0 attends globally.

    Windows that reach over the border are filled with zeros after the norm and nothing is masked, so padded tokens take
    part in the softmax with the projection's bias as their key and value.
    """

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width, 4 * width, width, activation=nn.GELU)

    def attend(self, x_bhwc: Tensor) -> Tensor:
        b, h, w, c = x_bhwc.shape
        size = self.window or max(h, w)
        down, right = -h % size, -w % size
        padded = F.pad(x_bhwc, (0, 0, 0, right, 0, down))
        rows, columns = (h + down) // size, (w + right) // size
        windows = padded.view(b, rows, size, columns, size, c).transpose(2, 3).reshape(-1, size * size, c)
        out = self.attn(windows).view(b, rows, columns, size, size, c).transpose(2, 3)
        return out.reshape(b, h + down, w + right, c)[:, :h, :w]

    def forward(self, x_bhwc: Tensor) -> Tensor:
        x_bhwc = x_bhwc + self.attend(self.norm1(x_bhwc))
        return x_bhwc + self.mlp(self.norm2(x_bhwc))


class PatchEmbed(nn.Module):
    """Non-overlapping patches of the image, projected to tokens."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, stride, stride)

    def forward(self, image_bchw: Tensor) -> Tensor:
        return self.proj(image_bchw)


class ViT(nn.Module):
    """Patch embedding, position embedding and the blocks; gives (B, C, g, g) without a final norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(config.vit_width, config.stride)
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + PRETRAIN_GRID**2, config.vit_width))
        self.blocks = nn.ModuleList(
            Block(config.vit_width, config.vit_heads, 0 if i in config.vit_global_blocks else config.vit_window)
            for i in range(config.vit_depth)
        )

    def position(self, grid: int) -> Tensor:
        """The position embedding resized bicubically to (1, C, grid, grid)."""
        table = self.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (PRETRAIN_GRID, PRETRAIN_GRID))
        if grid == PRETRAIN_GRID:
            return table
        return F.interpolate(table, (grid, grid), mode="bicubic", align_corners=False)

    def forward(self, image_bchw: Tensor) -> Tensor:
        x = self.patch_embed(image_bchw)
        x = (x + self.position(x.shape[-1])).permute(0, 2, 3, 1)
        for block in self.blocks:
            x = block(x)
        return x.permute(0, 3, 1, 2)


class NeckLevel(nn.Module):
    """1x1 convolution, norm, 3x3 convolution, norm."""

    def __init__(self, inner: int, width: int) -> None:
        super().__init__()
        self.conv_1x1 = nn.Conv2d(inner, width, 1, bias=False)
        self.norm_0 = ChannelNorm(width)
        self.conv_3x3 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm_1 = ChannelNorm(width)

    def forward(self, x_bchw: Tensor) -> Tensor:
        return self.norm_1(self.conv_3x3(self.norm_0(self.conv_1x1(x_bchw))))


class Neck(nn.Module):
    """The one-level neck (a list of one, as the checkpoints name it)."""

    def __init__(self, inner: int, width: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList([NeckLevel(inner, width)])

    def forward(self, x_bchw: Tensor) -> Tensor:
        return self.convs[0](x_bchw)


class ImageEncoder(nn.Module):
    """Normalised image (B, 3, S, S) to features (B, width, S/16, S/16)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.trunk = ViT(config)
        self.neck = Neck(config.vit_width, config.width)

    def forward(self, image_bchw: Tensor) -> Tensor:
        return self.neck(self.trunk(image_bchw))
