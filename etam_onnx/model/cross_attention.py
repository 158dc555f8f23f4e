"""How the current frame reads its memories: the cross-attention variants of the paper, one small object each.

A strategy sees projected, rotated tokens and does not know where they come from.  Shapes: queries (B, N, C);
spatial keys and values (B, M, N, C) for M memory frames of N = grid * grid tokens; pointer keys and values (B, P, C).
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..config import CrossAttention

POOL = 2
"""Side of the pooling window, in tokens."""
LOG_WINDOW = math.log(POOL * POOL)


class Strategy(Protocol):
    """Single-head attention of a frame over its memories; returns (B, N, C)."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, k_pointer: Tensor, v_pointer: Tensor) -> Tensor: ...


def full(q: Tensor, k: Tensor, v: Tensor, k_pointer: Tensor, v_pointer: Tensor) -> Tensor:
    """Every memory token is a key."""
    keys = torch.cat((k.flatten(1, 2), k_pointer), 1)
    values = torch.cat((v.flatten(1, 2), v_pointer), 1)
    return F.scaled_dot_product_attention(q, keys, values)


def pool_tokens(x_bmnc: Tensor) -> Tensor:
    """Average 2x2 windows of (B, M, grid * grid, C) tokens to (B, M, grid * grid / 4, C)."""
    b, m, n, c = x_bmnc.shape
    grid = math.isqrt(n)
    image = x_bmnc.reshape(b * m, grid, grid, c).permute(0, 3, 1, 2)
    return F.avg_pool2d(image, POOL).flatten(2).transpose(1, 2).reshape(b, m, -1, c)


def pooled_score_bias(q: Tensor, k: Tensor, v: Tensor, k_pointer: Tensor, v_pointer: Tensor) -> Tensor:
    """Equation 5: a pooled key stands for four tokens, so log 4 is added to its score."""
    k, v = pool_tokens(k).flatten(1, 2), pool_tokens(v).flatten(1, 2)
    bias = torch.cat((q.new_full((k.shape[1],), LOG_WINDOW), q.new_zeros(k_pointer.shape[1])))
    keys, values = torch.cat((k, k_pointer), 1), torch.cat((v, v_pointer), 1)
    return F.scaled_dot_product_attention(q, keys, values, attn_mask=bias.expand(q.shape[1], -1))


def pooled_key_constant(q: Tensor, k: Tensor, v: Tensor, k_pointer: Tensor, v_pointer: Tensor) -> Tensor:
    """Equation 6: log 4 is added to each channel of the pooled keys."""
    k, v = pool_tokens(k).flatten(1, 2) + LOG_WINDOW, pool_tokens(v).flatten(1, 2)
    return F.scaled_dot_product_attention(q, torch.cat((k, k_pointer), 1), torch.cat((v, v_pointer), 1))


STRATEGIES: dict[CrossAttention, Strategy] = {
    "full": full,
    "pooled_score_bias": pooled_score_bias,
    "pooled_key_constant": pooled_key_constant,
}


def strategy_for(name: CrossAttention, memory_frames: int) -> Strategy:
    """The function used for that many memory frames: the original never pools a single one."""
    return STRATEGIES["full" if memory_frames == 1 else name]
