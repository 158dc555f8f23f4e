"""The Core ML form of each graph: the portable form, where two pieces are written as Core ML takes them best.

Normalisation over channels becomes one `layer_norm` (the converter knows it by the way it is written), which half
precision needs: the squares of its parts overflow and lose digits.  The threshold of a mask becomes steps that half
precision can hold: the slope of the portable form would stay in single precision, between two casts.
"""

from __future__ import annotations

from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...graphs.contract import Geometry
from ...model import EfficientTAM
from ...model.layers import ChannelNorm
from ..ort.signed_mask import GAIN, SOFT
from ..portable import PortableMemoryEncoder, portable_graph

STEP = 32_768.0
"""Slope of one of the two ramps of a threshold; 1 times it is finite in half precision, a denormal times it squared is
above 1."""
LEAST_SCALE = 1e-20
"""Stands for a scale of zero, by which nothing can be divided."""


class FusedChannelNorm(nn.Module):
    """`ChannelNorm` in the order of operations that the converter turns into one `layer_norm` over axis 1.

    The pattern shifts before it scales, so the shift is stored divided by the scale; the converter multiplies it back.
    """

    def __init__(self, norm: ChannelNorm) -> None:
        super().__init__()
        weight, bias = norm.weight.detach().double(), norm.bias.detach().double()
        weight = torch.where(weight.abs() < LEAST_SCALE, torch.full_like(weight, LEAST_SCALE), weight)
        self.register_buffer("scale", weight.float()[None, :, None, None])
        self.register_buffer("shift", (bias / weight).float()[None, :, None, None])
        self.eps = norm.eps

    def forward(self, x_bchw: Tensor) -> Tensor:
        centred = x_bchw - x_bchw.mean(1, keepdim=True)
        normed = centred * torch.rsqrt((centred * centred).mean(1, keepdim=True) + self.eps)
        return (normed + self.shift) * self.scale


class CoremlMemoryEncoder(PortableMemoryEncoder):
    """The portable memory encoder with its threshold in steps, and a soft mask that keeps its digits around 0.

    ``20 sigmoid(x) - 10`` is ``10 tanh(x / 2)``; the difference would lose what half precision has where a mask is
    undecided.
    """

    def threshold(self, logits: Tensor) -> Tensor:
        """1 where a logit is above 0, else 0; logits below 1e-9 may fall between."""
        ramp = torch.clamp(torch.clamp(logits, 0, 1) * STEP, 0, 1)
        return torch.clamp(ramp * STEP, 0, 1)

    def forward(self, features: Tensor, mask_logits: Tensor, binarize: Tensor) -> Tensor:
        logits = F.interpolate(mask_logits, (self.size, self.size), mode="bilinear", align_corners=False)
        hard = binarize.reshape(1, 1, 1, 1)
        mask = (self.threshold(logits) * 2 - 1) * hard + torch.tanh(logits * SOFT) * (1 - hard)
        x = self.pix_feat_proj(features) + self.mask_downsampler(mask * GAIN)
        for block in self.fuser:
            x = block(x)
        return self.out_proj(x).flatten(2).transpose(1, 2)


def coreml_graph(model: EfficientTAM, geometry: Geometry, name: str) -> nn.Module:
    """The module of one graph of the contract, in evaluation mode, with weights of its own.

    Raises:
        ValueError: no graph of that name.
    """
    plain = CoremlMemoryEncoder(model) if name == "memory_encoder" else portable_graph(model, geometry, name)
    module = deepcopy(plain).eval().requires_grad_(False)
    for parent in list(module.modules()):
        for key, child in parent.named_children():
            if isinstance(child, ChannelNorm):
                setattr(parent, key, FusedChannelNorm(child))
    return module
