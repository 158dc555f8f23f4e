"""Memory attention over a fixed number of slots, unused ones masked.

Two identities make it smaller than the plain form: rotary pairs are regrouped into halves by permuting the rows of
the query and key projections; and since attention weights sum to one, softmax(A)(M W + b) = (softmax(A) M) W + b,
so values stay memory-wide.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import ModelConfig
from ...model.cross_attention import LOG_WINDOW, POOL
from ...model.efficienttam import EfficientTAM
from ...model.memory_attention import POSITION_SCALE, MemoryAttentionLayer, RotaryAttention
from ...model.position import rotary_tables, sine_position

MASKED = -1e4
"""Added to the scores of unused slots: far enough for an exact zero after the softmax, finite in half precision."""
LARGEST_DIMENSION = 16_384
EXPORTED = ("full", "pooled_score_bias", "pooled_key_constant")
"""The cross-attentions that have a static graph; the others are for studies in PyTorch."""


def require_exported(config: ModelConfig) -> None:
    """ValueError unless memory attention of this configuration has a static graph."""
    pooled_otherwise = config.cross_attention != "full" and config.pool_window != POOL
    if config.cross_attention not in EXPORTED or pooled_otherwise or not config.object_pointers:
        raise ValueError(
            f"only models with object pointers and a cross-attention of {', '.join(EXPORTED)} with windows of {POOL} "
            f"can be exported, this one has {config.cross_attention} with windows of {config.pool_window} and "
            f"{'object' if config.object_pointers else 'no'} pointers"
        )


def halves_first(linear: nn.Linear) -> nn.Linear:
    """The same projection with its output channels ordered evens, then odds: rotary pairs become two halves."""
    out = nn.Linear(linear.in_features, linear.out_features)
    order = torch.cat((torch.arange(0, linear.out_features, 2), torch.arange(1, linear.out_features, 2)))
    out.weight.data = linear.weight.detach()[order].clone()
    out.bias.data = linear.bias.detach()[order].clone()
    return out


class Rotation(nn.Module):
    """Rotary embedding of (..., grid * grid, C) tokens whose pairs lie in two halves."""

    def __init__(self, grid: int, width: int) -> None:
        super().__init__()
        cos, sin = rotary_tables(grid, width)
        self.register_buffer("cos", torch.from_numpy(cos))
        self.register_buffer("sin", torch.from_numpy(sin))
        self.half = width // 2

    def forward(self, x: Tensor) -> Tensor:
        a, b = x[..., : self.half], x[..., self.half :]
        return torch.cat((a * self.cos - b * self.sin, a * self.sin + b * self.cos), -1)


class SelfAttention(nn.Module):
    """Single-head rotary self-attention."""

    def __init__(self, attn: RotaryAttention) -> None:
        super().__init__()
        self.q, self.k = halves_first(attn.q_proj), halves_first(attn.k_proj)
        self.v, self.out = attn.v_proj, attn.out_proj
        self.scale = attn.q_proj.out_features**-0.5

    def forward(self, x_bnc: Tensor, rotate: Rotation) -> Tensor:
        q, k = rotate(self.q(x_bnc)) * self.scale, rotate(self.k(x_bnc))
        return self.out(torch.softmax(q @ k.transpose(1, 2), -1) @ self.v(x_bnc))


class CrossAttention(nn.Module):
    """Attention to slots x tokens of memory and to pointer tokens, pooled or not."""

    def __init__(self, attn: RotaryAttention, kind: str, slots: int, grid: int) -> None:
        super().__init__()
        self.q, self.k = halves_first(attn.q_proj), halves_first(attn.k_proj)
        self.v, self.out = attn.v_proj, attn.out_proj
        self.scale = attn.q_proj.out_features**-0.5
        self.pooled = kind != "full" and slots > 1
        self.score_bias = LOG_WINDOW if self.pooled and kind == "pooled_score_bias" else 0.0
        self.key_constant = LOG_WINDOW if self.pooled and kind == "pooled_key_constant" else 0.0
        self.slots, self.grid = slots, grid
        self.keys = (grid // POOL) ** 2 if self.pooled else grid * grid
        self.register_buffer("no_bias", torch.zeros(1, self.keys))

    def pool(self, x_mnc: Tensor) -> Tensor:
        """Average 2x2 windows of every slot."""
        m, _, c = x_mnc.shape
        image = x_mnc.transpose(1, 2).reshape(m, c, self.grid, self.grid)
        return F.avg_pool2d(image, POOL).reshape(m, c, self.keys).transpose(1, 2)

    def forward(
        self,
        x_bnc: Tensor,
        keys: Tensor,
        values: Tensor,
        pointers: Tensor,
        slot_bias: Tensor,
        pointer_bias: Tensor,
        rotate: Rotation,
    ) -> Tensor:
        """`keys` (M, N, Cm) with position, `values` (M, N, Cm) pooled if this attention pools, `pointers` (P, Cm),
        `slot_bias` (M, 1), `pointer_bias` (1, P)."""
        q = rotate(self.q(x_bnc)) * self.scale
        k = rotate(self.k(keys))
        if self.pooled:
            k = self.pool(k)
        if self.key_constant:
            k = k + self.key_constant
        bias = slot_bias + (self.no_bias + self.score_bias)  # (M, keys)
        read = self.joint if self.slots * self.keys + pointers.shape[0] <= LARGEST_DIMENSION else self.per_slot
        return self.out(self.v(read(q, k, values, self.k(pointers), pointers, bias, pointer_bias)))

    def joint(
        self, q: Tensor, k: Tensor, v: Tensor, kp: Tensor, vp: Tensor, bias: Tensor, pointer_bias: Tensor
    ) -> Tensor:
        """One softmax over all keys in a row."""
        total = self.slots * self.keys
        keys = torch.cat((k.reshape(total, -1), kp), 0)
        values = torch.cat((v.reshape(total, -1), vp), 0)
        scores = q @ keys.transpose(0, 1)
        if self.slots == 1:
            bias = self.no_bias
        return torch.softmax(scores + torch.cat((bias.reshape(1, total), pointer_bias), 1), -1) @ values

    def per_slot(
        self, q: Tensor, k: Tensor, v: Tensor, kp: Tensor, vp: Tensor, bias: Tensor, pointer_bias: Tensor
    ) -> Tensor:
        """The same softmax, its sums taken slot by slot, so that no dimension holds all keys."""
        scores = q @ k.transpose(1, 2) + bias.reshape(self.slots, 1, self.keys)
        pointer_scores = q @ kp.transpose(0, 1) + pointer_bias
        peak = torch.maximum(scores.amax(2, keepdim=True).amax(0, keepdim=True), pointer_scores.amax(2, keepdim=True))
        weight, pointer_weight = torch.exp(scores - peak), torch.exp(pointer_scores - peak)
        total = weight.sum(2, keepdim=True).sum(0, keepdim=True) + pointer_weight.sum(2, keepdim=True)
        return ((weight @ v).sum(0, keepdim=True) + pointer_weight @ vp) / total


class PortableLayer(nn.Module):
    """Self-attention, cross-attention, MLP."""

    def __init__(self, layer: MemoryAttentionLayer, slots: int, grid: int) -> None:
        super().__init__()
        self.layer = layer
        self.self_attention = SelfAttention(layer.self_attn)
        self.cross_attention = CrossAttention(layer.cross_attn_image, layer.cross_attention, slots, grid)

    def forward(self, x: Tensor, memory: tuple[Tensor, ...], rotate: Rotation) -> Tensor:
        layer = self.layer
        x = x + self.self_attention(layer.norm1(x), rotate)
        x = x + self.cross_attention(layer.norm2(x), *memory, rotate)
        return x + layer.linear2(F.relu(layer.linear1(layer.norm3(x))))


class PortableMemoryAttention(nn.Module):
    """Memory attention with `slots` memory slots."""

    def __init__(self, model: EfficientTAM, slots: int, pointer_slots: int) -> None:
        super().__init__()
        config = model.config
        require_exported(config)
        grid, width, memory_width = config.grid, config.width, config.memory_width
        self.slots, self.pointer_slots, self.config = slots, pointer_slots, config
        self.layers = nn.ModuleList(PortableLayer(x, slots, grid) for x in model.memory_attention.layers)
        self.norm = model.memory_attention.norm
        self.rotate = Rotation(grid, width)
        position = torch.from_numpy(sine_position(grid, width).copy())[None]
        self.register_buffer("position", position * POSITION_SCALE)
        self.register_buffer(
            "memory_position", torch.from_numpy(sine_position(grid, memory_width).reshape(memory_width, -1).T.copy())
        )
        self.register_buffer("rows", model.maskmem_tpos_enc.detach().reshape(-1, memory_width).clone())
        self.register_buffer("ones", torch.ones(self.rows.shape[0], 1))
        self.register_buffer("no_bias", torch.zeros(1, config.pointer_tokens))

    def forward(
        self, features: Tensor, memories: tuple[Tensor, ...], memory_row: Tensor, pointers: Tensor, pointer_used: Tensor
    ) -> Tensor:
        grid, memory_width = self.config.grid, self.config.memory_width
        memory = torch.cat(memories, 0) if self.slots > 1 else memories[0]
        keys = memory + self.memory_position + (memory_row @ self.rows).reshape(self.slots, 1, memory_width)
        slot_bias = (1 - memory_row @ self.ones) * MASKED
        tokens = self.pointer_slots * self.config.pointer_tokens
        pointer_bias = ((1 - pointer_used) * MASKED + self.no_bias).reshape(1, tokens)
        pointer_tokens = pointers.reshape(tokens, memory_width)
        first = self.layers[0].cross_attention
        values = first.pool(memory) if first.pooled else memory
        x = (features + self.position).flatten(2).transpose(1, 2)
        for layer in self.layers:
            x = layer(x, (keys, values, pointer_tokens, slot_bias, pointer_bias), self.rotate)
        return self.norm(x).transpose(1, 2).reshape(1, self.config.width, grid, grid)
