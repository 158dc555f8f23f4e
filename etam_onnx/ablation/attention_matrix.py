"""The weights that each cross-attention gives to every single memory token, written down from their definitions.

A pooled weight is shared equally among the tokens that the pooled one stands for: that is the softmax over repeated
keys in the paper's lemma 1, and makes the weights of all variants matrices of one shape.  Shapes as in
`model.cross_attention`; here for one frame, B = 1, without that axis.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..config import CrossAttention
from ..model.cross_attention import REGIONS, pool_runs, pool_tokens


def attention_matrix(
    kind: CrossAttention, q: Tensor, k: Tensor, k_pointer: Tensor, *, window: int = 2, regions: int = REGIONS
) -> Tensor:
    """Weights (N, M * N + P) of every query over every spatial and pointer token; rows sum to one.

    Args:
        kind: the cross-attention.
        q: queries (N, C).
        k: spatial keys (M, N, C).
        k_pointer: pointer keys (P, C).
        window: side of the pooling windows, in tokens.
        regions: windows along each side of the grid, for ``local_windows``.
    """
    keys = torch.cat((k.flatten(0, 1), k_pointer))
    if kind == "linear":
        weight = (F.elu(q) + 1) @ (F.elu(keys) + 1).T
        return weight / weight.sum(1, keepdim=True)
    scale = q.shape[-1] ** -0.5
    if kind == "full":
        return torch.softmax(q @ keys.T * scale, 1)
    memories, tokens, _ = k.shape
    grid = math.isqrt(tokens)
    if kind == "local_windows":
        region = _cells(grid, grid // regions, q.device)
        spatial = (region[:, None] == region).repeat(1, memories)
        seen = torch.cat((spatial, spatial.new_ones(tokens, len(k_pointer))), 1)
        return torch.softmax((q @ keys.T * scale).masked_fill(~seen, -math.inf), 1)
    pooled = pool_tokens(k[None], window)[0]
    constant = math.log(window**2)
    if kind == "pooled_key_constant":
        pooled = pooled + constant
    bias = constant if kind in ("pooled_score_bias", "pooled_all") else 0.0
    scores = q @ pooled.flatten(0, 1).T * scale + bias
    # Where each spatial token's pooled one stands among the columns of `scores`.
    owner = (
        torch.arange(memories, device=q.device)[:, None] * pooled.shape[1] + _cells(grid, window, q.device)
    ).flatten()
    n_pointers, runs = len(k_pointer), window**2 if kind == "pooled_all" else 1
    run = torch.arange(n_pointers, device=q.device) // runs
    length = torch.bincount(run).to(q)
    pointer_scores = q @ pool_runs(k_pointer[None], runs)[0].T * scale + length.log()
    weight = torch.softmax(torch.cat((scores, pointer_scores), 1), 1)
    spatial, pointer = weight[:, : scores.shape[1]], weight[:, scores.shape[1] :]
    return torch.cat((spatial[:, owner] / window**2, (pointer / length)[:, run]), 1)


def _cells(grid: int, side: int, device: torch.device) -> Tensor:
    """Number of the side x side window that each token of a grid lies in, (grid * grid,), row by row."""
    line = torch.arange(grid, device=device) // side
    return (line[:, None] * (grid // side) + line).flatten()
