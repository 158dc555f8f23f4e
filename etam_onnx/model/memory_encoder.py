"""The memory encoder: raw features and the mask of a frame become one memory map."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from .layers import ChannelNorm


class MaskDownsampler(nn.Module):
    """Four stride-2 convolutions from the mask at input size to the feature grid."""

    def __init__(self, channels: tuple[int, ...], width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for a, b in pairwise((1, *channels, width)):
            layers += [nn.Conv2d(a, b, 3, 2, 1), ChannelNorm(b), nn.GELU()]
        self.encoder = nn.Sequential(*layers, nn.Conv2d(width, width, 1))

    def forward(self, mask_b1ss: Tensor) -> Tensor:
        return self.encoder(mask_b1ss)


class FuserBlock(nn.Module):
    """ConvNeXt block: depthwise 7x7, norm, pointwise expansion, learned scale, residual."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = ChannelNorm(width)
        self.pwconv1 = nn.Linear(width, inner)
        self.pwconv2 = nn.Linear(inner, width)
        self.gamma = nn.Parameter(torch.full((width,), 0.1))
        self.act = nn.GELU()

    def forward(self, x_bchw: Tensor) -> Tensor:
        y = self.norm(self.dwconv(x_bchw)).permute(0, 2, 3, 1)
        y = self.gamma * self.pwconv2(self.act(self.pwconv1(y)))
        return x_bchw + y.permute(0, 3, 1, 2)


class Fuser(nn.Module):
    """Two ConvNeXt blocks."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(FuserBlock(width, inner) for _ in range(2))

    def forward(self, x_bchw: Tensor) -> Tensor:
        for layer in self.layers:
            x_bchw = layer(x_bchw)
        return x_bchw


class MemoryEncoder(nn.Module):
    """Raw features (B, C, g, g) and a scaled mask (B, 1, S, S) to a memory map (B, Cm, g, g)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.mask_downsampler = MaskDownsampler(config.mask_channels, config.width)
        self.pix_feat_proj = nn.Conv2d(config.width, config.width, 1)
        self.fuser = Fuser(config.width, config.fuser_mlp_width)
        self.out_proj = nn.Conv2d(config.width, config.memory_width, 1)

    def forward(self, features_bchw: Tensor, mask_b1ss: Tensor) -> Tensor:
        return self.out_proj(self.fuser(self.pix_feat_proj(features_bchw) + self.mask_downsampler(mask_b1ss)))
