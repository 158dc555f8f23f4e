"""How the current frame reads its memories: the cross-attention variants of the paper, one small function each.

A strategy sees projected, rotated tokens and does not know where they come from.  Shapes: queries (B, N, C);
spatial keys and values (B, M, N, C) for M memory frames of N = grid * grid row-major tokens; pointer keys and values
(B, P, C).  The channels of values may differ from those of keys: every strategy is linear in its values.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..config import POOLED, CrossAttention

POOL = 2
"""Side of the pooling window of the published models, in tokens."""
LOG_WINDOW = math.log(POOL * POOL)
REGIONS = 2
"""Windows along each side of the grid in local windowed attention: four in all, as in the paper."""


class Strategy(Protocol):
    """Single-head attention of a frame over its memories; returns (B, N, C)."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, k_pointer: Tensor, v_pointer: Tensor) -> Tensor: ...


def full(q: Tensor, k: Tensor, v: Tensor, k_pointer: Tensor, v_pointer: Tensor) -> Tensor:
    """Every memory token is a key (equation 1)."""
    keys = torch.cat((k.flatten(1, 2), k_pointer), 1)
    values = torch.cat((v.flatten(1, 2), v_pointer), 1)
    return F.scaled_dot_product_attention(q, keys, values)


def pool_tokens(x_bmnc: Tensor, window: int = POOL) -> Tensor:
    """Average windows of (B, M, grid * grid, C) tokens to (B, M, grid * grid / window**2, C) (equation 2).

    Raises:
        ValueError: the window does not divide the grid.
    """
    b, m, n, c = x_bmnc.shape
    grid = math.isqrt(n)
    if grid % window:
        raise ValueError(f"windows of {window}x{window} do not fit a memory of {grid}x{grid} tokens")
    image = x_bmnc.reshape(b * m, grid, grid, c).permute(0, 3, 1, 2)
    return F.avg_pool2d(image, window).flatten(2).transpose(1, 2).reshape(b, m, -1, c)


def pooled_score_bias(
    q: Tensor, k: Tensor, v: Tensor, k_pointer: Tensor, v_pointer: Tensor, *, window: int = POOL
) -> Tensor:
    """Equation 5: a pooled key stands for window**2 tokens, so the log of that is added to its score."""
    k, v = pool_tokens(k, window).flatten(1, 2), pool_tokens(v, window).flatten(1, 2)
    bias = torch.cat((q.new_full((k.shape[1],), math.log(window**2)), q.new_zeros(k_pointer.shape[1])))
    keys, values = torch.cat((k, k_pointer), 1), torch.cat((v, v_pointer), 1)
    return F.scaled_dot_product_attention(q, keys, values, attn_mask=bias.expand(q.shape[1], -1))


def pooled_key_constant(
    q: Tensor, k: Tensor, v: Tensor, k_pointer: Tensor, v_pointer: Tensor, *, window: int = POOL
) -> Tensor:
    """Equation 6: the log of window**2 is added to each channel of the pooled keys."""
    k = pool_tokens(k, window).flatten(1, 2) + math.log(window**2)
    v = pool_tokens(v, window).flatten(1, 2)
    return F.scaled_dot_product_attention(q, torch.cat((k, k_pointer), 1), torch.cat((v, v_pointer), 1))


def pooled_plain(
    q: Tensor, k: Tensor, v: Tensor, k_pointer: Tensor, v_pointer: Tensor, *, window: int = POOL
) -> Tensor:
    """Pooled keys and values without a constant: the paper's Linformer variant, averages for learned projections.

    Spatial tokens lose weight to the pointers by the number of tokens that each of them stands for.
    """
    k, v = pool_tokens(k, window).flatten(1, 2), pool_tokens(v, window).flatten(1, 2)
    return F.scaled_dot_product_attention(q, torch.cat((k, k_pointer), 1), torch.cat((v, v_pointer), 1))


def pool_runs(x_bpc: Tensor, length: int) -> Tensor:
    """Average runs of `length` tokens of (B, P, C) to (B, ceil(P / length), C); the last run may be shorter."""
    return torch.stack([run.mean(1) for run in x_bpc.split(length, 1)], 1) if x_bpc.shape[1] else x_bpc


def pooled_all(q: Tensor, k: Tensor, v: Tensor, k_pointer: Tensor, v_pointer: Tensor, *, window: int = POOL) -> Tensor:
    """Pointer tokens are pooled too (table 7): runs of window**2 of them, as the spatial windows of window**2 tokens.

    The paper does not say which pointer tokens meet in a window; in a row, as here, they are the pieces of one pointer
    where it is cut into window**2 or more.  Each pooled token's score grows by the log of the tokens it stands for, so
    this is full attention on a memory that is constant within its windows and runs.
    """
    pointers = k_pointer.shape[1]
    k, v = pool_tokens(k, window).flatten(1, 2), pool_tokens(v, window).flatten(1, 2)
    keys = torch.cat((k, pool_runs(k_pointer, window**2)), 1)
    values = torch.cat((v, pool_runs(v_pointer, window**2)), 1)
    counts = [window**2] * k.shape[1] + [min(window**2, pointers - at) for at in range(0, pointers, window**2)]
    bias = q.new_tensor(counts).log()
    return F.scaled_dot_product_attention(q, keys, values, attn_mask=bias.expand(q.shape[1], -1))


def split_regions(x_bmnc: Tensor, regions: int) -> Tensor:
    """Cut the grid of (B, M, grid * grid, C) into regions x regions windows: (B, regions**2, M, tokens, C).

    Raises:
        ValueError: the number of windows does not divide the grid.
    """
    b, m, n, c = x_bmnc.shape
    grid = math.isqrt(n)
    if grid % regions:
        raise ValueError(f"{regions}x{regions} windows do not divide a memory of {grid}x{grid} tokens")
    side = grid // regions
    cut = x_bmnc.reshape(b, m, regions, side, regions, side, c).permute(0, 2, 4, 1, 3, 5, 6)
    return cut.reshape(b, regions**2, m, side * side, c)


def join_regions(x_brnc: Tensor, regions: int) -> Tensor:
    """Undo `split_regions` for one frame: (B, regions**2, tokens, C) to (B, grid * grid, C)."""
    b, _, n, c = x_brnc.shape
    side = math.isqrt(n)
    whole = x_brnc.reshape(b, regions, regions, side, side, c).transpose(2, 3)
    return whole.reshape(b, regions**2 * n, c)


def local_windows(
    q: Tensor, k: Tensor, v: Tensor, k_pointer: Tensor, v_pointer: Tensor, *, regions: int = REGIONS
) -> Tensor:
    """A query reads the tokens of its own window in every memory frame, and all pointers (table 8)."""
    r = regions**2
    queries = split_regions(q[:, None], regions)[:, :, 0]
    keys, values = (
        torch.cat((split_regions(x, regions).flatten(2, 3), pointer[:, None].expand(-1, r, -1, -1)), 2)
        for x, pointer in ((k, k_pointer), (v, v_pointer))
    )
    return join_regions(F.scaled_dot_product_attention(queries, keys, values), regions)


def linear(q: Tensor, k: Tensor, v: Tensor, k_pointer: Tensor, v_pointer: Tensor) -> Tensor:
    """Linear attention: phi(q) (phi(k)^T v), divided by phi(q) summed over the keys; phi = elu + 1.

    The paper names three linear attentions without saying which kernel it took; this one is that of Katharopoulos et
    al. 2020, positive everywhere, so that no query is left without weight.
    """
    q, k = F.elu(q) + 1, F.elu(torch.cat((k.flatten(1, 2), k_pointer), 1)) + 1
    v = torch.cat((v.flatten(1, 2), v_pointer), 1)
    total = q @ k.sum(1)[..., None]
    return q @ (k.transpose(1, 2) @ v) / total


def strategy_for(kind: CrossAttention, memory_frames: int, window: int = POOL, regions: int = REGIONS) -> Strategy:
    """The function used for that many memory frames: the original never pools a single one."""
    if kind == "full" or (kind in POOLED and memory_frames == 1):
        return full
    if kind == "linear":
        return linear
    if kind == "local_windows":
        return partial(local_windows, regions=regions)
    pooled = {
        "pooled_score_bias": pooled_score_bias,
        "pooled_key_constant": pooled_key_constant,
        "pooled_plain": pooled_plain,
        "pooled_all": pooled_all,
    }
    return partial(pooled[kind], window=window)
