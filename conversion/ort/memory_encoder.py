"""The memory encoder: convolutions on maps, everything pointwise on rows of tokens.

The last block's result is read by the output projection alone, so both are one product:
(x + g * (h W + b)) Wo + bo = x Wo + h (W (g * Wo)) + ((g * b) Wo + bo), an eighth of the arithmetic of the whole graph.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...model.efficienttam import EfficientTAM
from ...model.layers import ChannelNorm
from ...model.memory_encoder import FuserBlock
from .gelu import gelu
from .normed_convolution import NormedConvolution
from .signed_mask import GAIN, SignedMask


def rows(x_bchw: Tensor) -> Tensor:
    """(1, C, H, W) to (H W, C)."""
    return x_bchw.permute(0, 2, 3, 1).reshape(-1, x_bchw.shape[1])


def row_norm(x_nc: Tensor, norm: ChannelNorm) -> Tensor:
    return F.layer_norm(x_nc, norm.weight.shape, norm.weight, norm.bias, norm.eps)


def product(layer: nn.Conv2d | nn.Linear) -> tuple[Tensor, Tensor]:
    """A linear layer or 1x1 convolution as weight (in, out) and bias (out,), in double precision."""
    assert layer.bias is not None
    return layer.weight.detach().double().flatten(1).T, layer.bias.detach().double()


class MaskStages(nn.Module):
    """A signed mask (1, 1, S, S) to rows (N, C) that the last 1x1 convolution of the downsampler reads."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        pairs = [(layers[i], layers[i + 1]) for i in range(0, len(layers) - 1, 3)]
        *early, (self.last, self.last_norm) = pairs
        self.early = nn.ModuleList(
            NormedConvolution(convolution, norm, GAIN if index == 0 else 1.0)
            for index, (convolution, norm) in enumerate(early)
        )

    def forward(self, mask_b1ss: Tensor) -> Tensor:
        for stage in self.early:
            mask_b1ss = gelu(stage(mask_b1ss))
        return gelu(row_norm(rows(self.last(mask_b1ss)), self.last_norm))


class Widened(nn.Module):
    """Rows (N, C) to what the second pointwise layer of a fuser block reads, (N, inner)."""

    def __init__(self, block: FuserBlock, grid: int) -> None:
        super().__init__()
        self.grid, self.dwconv, self.norm, self.widen = grid, block.dwconv, block.norm, block.pwconv1

    def forward(self, x_nc: Tensor) -> Tensor:
        x_bchw = x_nc.reshape(1, self.grid, self.grid, -1).permute(0, 3, 1, 2)
        return gelu(self.widen(row_norm(rows(self.dwconv(x_bchw)), self.norm)))


class OrtMemoryEncoder(nn.Module):
    """Raw features (1, N, C), mask logits and the kind of frame to memory tokens (1, N, memory width)."""

    def __init__(self, model: EfficientTAM) -> None:
        super().__init__()
        encoder, grid = model.memory_encoder, model.config.grid
        dtype = encoder.out_proj.weight.dtype
        layers = encoder.mask_downsampler.encoder
        self.signed = SignedMask(model.config.image_size)
        self.stages = MaskStages(layers)
        self.widened = nn.ModuleList(Widened(block, grid) for block in encoder.fuser.layers)
        mask, mask_bias = product(layers[-1])
        features, features_bias = product(encoder.pix_feat_proj)
        out, out_bias = product(encoder.out_proj)
        narrow, narrow_bias = [], []
        for block in encoder.fuser.layers:
            weight, bias = product(block.pwconv2)
            gamma = block.gamma.detach().double()
            narrow.append(weight * gamma)
            narrow_bias.append(bias * gamma)
        for name, value in (
            ("features", features),
            ("mask", mask),
            ("start_bias", features_bias + mask_bias),
            ("narrow", narrow[0]),
            ("narrow_bias", narrow_bias[0]),
            ("out", out),
            ("last", narrow[1] @ out),
            ("out_bias", narrow_bias[1] @ out + out_bias),
        ):
            self.register_buffer(name, value.to(dtype).contiguous())

    def forward(self, features: Tensor, mask_logits: Tensor, binarize: Tensor) -> Tensor:
        mask = self.stages(self.signed(mask_logits, binarize))
        x = torch.addmm(torch.addmm(self.start_bias, features.squeeze(0), self.features), mask, self.mask)
        first, second = self.widened
        x = x + torch.addmm(self.narrow_bias, first(x), self.narrow)
        return torch.addmm(torch.addmm(self.out_bias, x, self.out), second(x), self.last).unsqueeze(0)
