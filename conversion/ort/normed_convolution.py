"""A convolution and the channel norm behind it, for few channels on large maps.

The mean that the norm subtracts is linear in what the convolution gives, so it is taken off the weights:
C (w * x + b) = (C w) * x + C b, with C x = x - mean over channels of x.  What is left of the norm is the mean of
squares, one product with a row of 1 / channels: sums across channels are far slower as a reduction than as a product.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...model.layers import ChannelNorm


def centred(convolution: nn.Conv2d) -> nn.Conv2d:
    """The convolution whose result has mean zero over channels at every pixel."""
    assert convolution.bias is not None
    weight, bias = convolution.weight.detach().double(), convolution.bias.detach().double()
    out, dtype = copy.deepcopy(convolution).requires_grad_(False), convolution.weight.dtype
    out.weight.copy_((weight - weight.mean(0)).to(dtype))
    out.bias.copy_((bias - bias.mean()).to(dtype))  # type: ignore[union-attr]
    return out


class NormedConvolution(nn.Module):
    """A convolution of `gain` times its input, then the channel norm: (1, C, H, W) to (1, C', H', W')."""

    def __init__(self, convolution: nn.Conv2d, norm: ChannelNorm, gain: float = 1.0) -> None:
        super().__init__()
        self.convolution = centred(convolution)
        self.convolution.weight.mul_(gain)
        channels = norm.weight.shape[0]
        self.register_buffer("mean", torch.full((1, channels), 1 / channels, dtype=norm.weight.dtype))
        self.register_buffer("weight", norm.weight.detach().clone())
        self.register_buffer("bias", norm.bias.detach().clone())
        self.register_buffer("zero", torch.zeros_like(self.weight))
        self.register_buffer("one", torch.ones_like(self.weight))
        self.eps = norm.eps

    def forward(self, x_bchw: Tensor) -> Tensor:
        y = self.convolution(x_bchw)
        planes = y.flatten(2).squeeze(0)
        scale = torch.rsqrt(self.mean @ (planes * planes) + self.eps)
        scaled = (planes * scale).reshape(y.shape)
        # Scale and shift of the norm in one pass: what a batch norm of mean 0 and variance 1 does.
        return F.batch_norm(scaled, self.zero, self.one, self.weight, self.bias, eps=0.0)
