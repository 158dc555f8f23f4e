"""Self-attention of the prompt tokens: queries and keys by one product, tokens that stand for several or for none."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...model.mask_decoder import TokenAttention


class TokenSelfAttention(nn.Module):
    """Tokens (T, C) read each other.

    A token that stands for n equal ones has the bias log n, an unused one a very negative bias: n exp(s) = exp(s + log
    n), and equal tokens have equal keys and values.
    """

    def __init__(self, attn: TokenAttention) -> None:
        super().__init__()
        dtype = attn.q_proj.weight.dtype
        self.heads = attn.heads
        scale = (attn.q_proj.out_features // attn.heads) ** -0.5
        q, k = attn.q_proj, attn.k_proj
        weight = torch.cat((q.weight.detach().double() * scale, k.weight.detach().double()))
        bias = torch.cat((q.bias.detach().double() * scale, k.bias.detach().double()))
        self.register_buffer("pair", weight.T.to(dtype).contiguous())
        self.register_buffer("pair_bias", bias.to(dtype))
        self.value, self.out = attn.v_proj, attn.out_proj

    def forward(self, placed_tc: Tensor, tokens_tc: Tensor, bias_t1: Tensor) -> Tensor:
        """What the tokens read, (T, C), without their residual; `placed_tc` with positions, `bias_t1` of each key."""
        count = len(tokens_tc)
        pair = torch.addmm(self.pair_bias, placed_tc, self.pair).reshape(count, 2 * self.heads, -1).transpose(0, 1)
        q, k = pair[: self.heads], pair[self.heads :]
        v = self.value(tokens_tc).reshape(count, self.heads, -1).transpose(0, 1)
        weights = torch.softmax(q @ k.transpose(1, 2) + bias_t1.T, -1)
        return self.out((weights @ v).transpose(0, 1).reshape(count, -1))
