"""The memory encoder with the mask's upsampling and scaling inside; pointwise layers as 1x1 convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...model.efficienttam import MASK_BIAS, MASK_SCALE, EfficientTAM
from ...model.memory_encoder import FuserBlock

STEEP = 1e30
"""Slope of the ramp that stands for the threshold at 0: clip(x * STEEP, 0, 1) is 0 or 1 for every x but denormals."""


def pointwise(linear: nn.Linear) -> nn.Conv2d:
    """A linear layer on channels-last data as a 1x1 convolution on channels-first data."""
    conv = nn.Conv2d(linear.in_features, linear.out_features, 1)
    conv.weight.data = linear.weight.detach()[:, :, None, None].clone()
    conv.bias.data = linear.bias.detach().clone()
    return conv


class PortableFuserBlock(nn.Module):
    """ConvNeXt block on channels-first data."""

    def __init__(self, block: FuserBlock) -> None:
        super().__init__()
        self.dwconv, self.norm, self.act = block.dwconv, block.norm, block.act
        self.expand, self.project = pointwise(block.pwconv1), pointwise(block.pwconv2)
        self.register_buffer("gamma", block.gamma.detach()[:, None, None].clone())

    def forward(self, x_bchw: Tensor) -> Tensor:
        return x_bchw + self.gamma * self.project(self.act(self.expand(self.norm(self.dwconv(x_bchw)))))


class PortableMemoryEncoder(nn.Module):
    """Raw features, low-resolution mask logits and the kind of frame to memory tokens."""

    def __init__(self, model: EfficientTAM) -> None:
        super().__init__()
        encoder = model.memory_encoder
        self.size = model.config.image_size
        self.mask_downsampler = encoder.mask_downsampler
        self.pix_feat_proj = encoder.pix_feat_proj
        self.fuser = nn.ModuleList(PortableFuserBlock(block) for block in encoder.fuser.layers)
        self.out_proj = encoder.out_proj

    def forward(self, features: Tensor, mask_logits: Tensor, binarize: Tensor) -> Tensor:
        logits = F.interpolate(mask_logits, (self.size, self.size), mode="bilinear", align_corners=False)
        hard = binarize.reshape(1, 1, 1, 1)
        mask = torch.clamp(logits * STEEP, 0, 1) * hard + torch.sigmoid(logits) * (1 - hard)
        x = self.pix_feat_proj(features) + self.mask_downsampler(mask * MASK_SCALE + MASK_BIAS)
        for block in self.fuser:
            x = block(x)
        return self.out_proj(x).flatten(2).transpose(1, 2)
