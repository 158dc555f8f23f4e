"""Memory attention: fuses the features of a frame with what is remembered of an object."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ModelConfig
from .cross_attention import strategy_for
from .position import rotate_pairs, sine_tokens

POSITION_SCALE = 0.1
"""Weight of the sine position that is added to the features at the input."""


class RotaryAttention(nn.Module):
    """Projections of single-head attention with rotary queries and keys; `source` is the width of keys and values."""

    def __init__(self, width: int, source: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(source, width)
        self.v_proj = nn.Linear(source, width)
        self.out_proj = nn.Linear(width, width)


class Reading(nn.Module):
    """The cross-attention strategy of a configuration as a module without parameters.

    Forward hooks on it see what a strategy takes, (q, k, v, k_pointer, v_pointer), and what it returns.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.kind, self.window, self.regions = config.cross_attention, config.pool_window, config.local_windows

    def forward(self, q: Tensor, k: Tensor, v: Tensor, k_pointer: Tensor, v_pointer: Tensor) -> Tensor:
        """See `Strategy`."""
        return strategy_for(self.kind, k.shape[1], self.window, self.regions)(q, k, v, k_pointer, v_pointer)


class MemoryAttentionLayer(nn.Module):
    """Self-attention, cross-attention to memory, ReLU MLP; pre-norm, a residual around each."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.width
        self.cross_attention = config.cross_attention
        self.self_attn = RotaryAttention(width, width)
        self.cross_attn_image = RotaryAttention(width, config.memory_width)
        self.reading = Reading(config)
        self.linear1 = nn.Linear(width, config.memory_mlp_width)
        self.linear2 = nn.Linear(config.memory_mlp_width, width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def attend_self(self, x_bnc: Tensor, grid: int) -> Tensor:
        attn = self.self_attn
        q, k = rotate_pairs(attn.q_proj(x_bnc), grid), rotate_pairs(attn.k_proj(x_bnc), grid)
        return attn.out_proj(F.scaled_dot_product_attention(q, k, attn.v_proj(x_bnc)))

    def attend_memory(self, x_bnc: Tensor, keys: Tensor, values: Tensor, pointers: Tensor, grid: int) -> Tensor:
        attn = self.cross_attn_image
        out = self.reading(
            rotate_pairs(attn.q_proj(x_bnc), grid),
            rotate_pairs(attn.k_proj(keys), grid),
            attn.v_proj(values),
            attn.k_proj(pointers),
            attn.v_proj(pointers),
        )
        return attn.out_proj(out)

    def forward(self, x_bnc: Tensor, keys: Tensor, values: Tensor, pointers: Tensor, grid: int) -> Tensor:
        x_bnc = x_bnc + self.attend_self(self.norm1(x_bnc), grid)
        x_bnc = x_bnc + self.attend_memory(self.norm2(x_bnc), keys, values, pointers, grid)
        return x_bnc + self.linear2(F.relu(self.linear1(self.norm3(x_bnc))))


class MemoryAttention(nn.Module):
    """The stack of layers and the final norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.object_pointers = config.object_pointers
        self.layers = nn.ModuleList(MemoryAttentionLayer(config) for _ in range(config.memory_layers))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, features_bchw: Tensor, memory: Tensor, rows: Tensor, pointers: Tensor) -> Tensor:
        """Fuse one frame with its memories.

        Args:
            features_bchw: raw features (B, C, g, g).
            memory: M memory frames (B, M, g * g, Cm), row-major tokens.
            rows: temporal embedding of each memory frame, (M, Cm).
            pointers: object pointers already cut into memory-wide tokens, (B, P, Cm); P may be 0. Not read
                if the configuration has no `object_pointers`.

        Returns:
            Fused features (B, C, g, g).
        """
        if not self.object_pointers:
            pointers = pointers[:, :0]
        grid = features_bchw.shape[-1]
        x = features_bchw.flatten(2).transpose(1, 2)
        x = x + POSITION_SCALE * sine_tokens(grid, x.shape[-1], x)
        keys = memory + sine_tokens(grid, memory.shape[-1], memory) + rows[:, None]
        for layer in self.layers:
            x = layer(x, keys, memory, pointers, grid)
        return self.norm(x).transpose(1, 2).unflatten(2, (grid, grid))


def cut_pointers(pointers: Tensor, memory_width: int) -> Tensor:
    """Cut (B, P, C) object pointers into (B, P * C / memory_width, memory_width) tokens, in order."""
    return torch.reshape(pointers, (pointers.shape[0], -1, memory_width))
