"""Attention between many tokens and many image cells: cells projected to the inner width, channels first.

Channels first, a head is a slice of rows, so neither splitting into heads nor joining them moves anything.  The
identities about constants are those of `absorbed_attention`, whose modules these stand in for where heads times tokens
exceed the inner width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...model.mask_decoder import TokenAttention


class ProjectedTokensReadImage(nn.Module):
    """Tokens (T, C) read cells (N, C)."""

    def __init__(self, attn: TokenAttention) -> None:
        super().__init__()
        dtype = attn.q_proj.weight.dtype
        self.heads, self.depth = attn.heads, attn.q_proj.out_features // attn.heads
        scale, out = self.depth**-0.5, attn.out_proj.weight.detach().double()
        for name, tensor in (
            ("query", attn.q_proj.weight.detach().double().T * scale),
            ("query_bias", attn.q_proj.bias.detach().double() * scale),
            ("key", attn.k_proj.weight.detach()),
            ("value", attn.v_proj.weight.detach()),
            ("out", out.T),
            ("out_bias", attn.out_proj.bias.detach().double() + out @ attn.v_proj.bias.detach().double()),
        ):
            self.register_buffer(name, tensor.to(dtype).contiguous())

    def queries(self, tokens_tc: Tensor) -> Tensor:
        """The tokens as queries (H, T, C / H)."""
        q = torch.addmm(self.query_bias, tokens_tc, self.query)
        return q.reshape(-1, self.heads, self.depth).transpose(0, 1)

    def read(self, queries: Tensor, placed_nc: Tensor, image_nc: Tensor) -> Tensor:
        """What the tokens read, (T, C), without their residual; cells with and without their positions."""
        k, v = (
            (w @ x.T).reshape(self.heads, self.depth, -1) for w, x in ((self.key, placed_nc), (self.value, image_nc))
        )
        read = torch.softmax(queries @ k, -1) @ v.transpose(1, 2)
        return torch.addmm(self.out_bias, read.transpose(0, 1).reshape(-1, self.heads * self.depth), self.out)


class ProjectedImageReadsTokens(nn.Module):
    """Cells (N, C) read tokens (T, C)."""

    def __init__(self, attn: TokenAttention) -> None:
        super().__init__()
        dtype = attn.q_proj.weight.dtype
        self.heads, self.depth = attn.heads, attn.q_proj.out_features // attn.heads
        scale, out = self.depth**-0.5, attn.out_proj.weight.detach().double()
        for name, tensor in (
            ("key", attn.k_proj.weight.detach().T),
            ("key_bias", attn.k_proj.bias.detach()),
            ("query", attn.q_proj.weight.detach().double() * scale),
            ("query_bias", attn.q_proj.bias.detach().double().view(self.heads, self.depth, 1) * scale),
            ("value", attn.v_proj.weight.detach().T),
            ("out", out.T),
            ("constant", attn.out_proj.bias.detach().double() + out @ attn.v_proj.bias.detach().double()),
        ):
            self.register_buffer(name, tensor.to(dtype).contiguous())

    def split(self, x_tc: Tensor) -> Tensor:
        return x_tc.reshape(-1, self.heads, self.depth).transpose(0, 1)

    def forward(
        self, image_nc: Tensor, placed_nc: Tensor, keys_tc: Tensor, values_tc: Tensor, bias_t1: Tensor
    ) -> Tensor:
        """The cells and what they read, (N, C); arguments as of `ImageReadsTokens`."""
        k = self.split(torch.addmm(self.key_bias, keys_tc, self.key))
        q = (self.query @ placed_nc.T).reshape(self.heads, self.depth, -1)
        scores = k @ q + (k @ self.query_bias + bias_t1)
        weights = torch.exp(scores - scores.amax(1, keepdim=True))
        weights = weights / weights.sum(1, keepdim=True)
        read = self.split(values_tc @ self.value).transpose(1, 2) @ weights
        return image_nc + torch.addmm(self.constant, read.reshape(self.heads * self.depth, -1).T, self.out)
