"""Equal keys with equal values in a softmax as one key with a weight.

A window that reaches over the border of the map holds `count` padded cells, all with the same key k and value v.
Their share of the softmax is count exp(q k) = exp(q k + ln(count)): one token with ln(count) added to its score.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .operators import DOMAIN


def pad_scores(tokens: int, count: int) -> Tensor:
    """What is added to the scores of `tokens` queries and keys and of a last key that stands for `count`.

    Returns:
        Float64 (1, 1, tokens, tokens + 1), as ONNX Runtime wants it: it repeats over batch and heads, not over queries.
    """
    scores = torch.zeros(1, 1, tokens, tokens + 1, dtype=torch.float64)
    scores[..., -1] = math.log(count)
    return scores


def attend_with_scores(q: Tensor, k: Tensor, v: Tensor, scores: Tensor, heads: int) -> Tensor:
    """softmax(q k^T / sqrt(D) + scores) v per head.

    ONNX Runtime leaves its tiled path for this; at border windows, which are few and small, that costs less than
    two more columns of every head that would carry the weight.

    Args:
        q: (B, N, heads * D); k, v: (B, M, heads * D).
        scores: (1, 1, N, M).

    Returns:
        (B, N, heads * D).
    """
    scale = (q.shape[-1] // heads) ** -0.5
    if torch.onnx.is_in_onnx_export():
        return torch.onnx.ops.symbolic(
            f"{DOMAIN}::MultiHeadAttention",
            (q, k, v, None, None, scores),
            {"num_heads": heads, "scale": float(scale)},
            dtype=q.dtype,
            shape=q.shape,
            version=1,
        )
    parts = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(*parts, attn_mask=scores, scale=scale).transpose(1, 2).flatten(2)
