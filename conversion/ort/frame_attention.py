"""The part of memory attention that no memory enters: the first self-attention and the first queries."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ...graphs.contract import Geometry
from ...graphs.ort_contract import Deployment
from ...model.efficienttam import EfficientTAM
from ...model.memory_attention import POSITION_SCALE, MemoryAttentionLayer
from ...model.position import sine_tokens
from ..portable.memory_attention import require_exported
from .operators import attend
from .projection import LinearMap, Projection
from .rotation import Rotation, rotary_table
from .score_column import edge_columns, with_ones


class SelfAttention(nn.Module):
    """Tokens (N, C) plus what they read of each other; the norm before it included.

    With one head, softmax(A) (n Wv^T + bv) Wo^T + bo = softmax(A) (n (Wo Wv)^T + Wo bv + bo), because weights sum to
    one: the output projection is joined with that of the values.
    """

    def __init__(self, layer: MemoryAttentionLayer, rotate: Rotation) -> None:
        super().__init__()
        attn, dtype = layer.self_attn, layer.norm1.weight.dtype
        self.eps, self.rotate = layer.norm1.eps, rotate
        scale = attn.q_proj.out_features**-0.5
        self.query = Projection(LinearMap.of(attn.q_proj).after_norm(layer.norm1).scaled(scale), dtype)
        self.key = Projection(LinearMap.of(attn.k_proj).after_norm(layer.norm1), dtype)
        value = LinearMap.of(attn.out_proj).after(LinearMap.of(attn.v_proj)).after_norm(layer.norm1)
        self.value = Projection(value, dtype)

    def forward(self, x_nc: Tensor) -> Tensor:
        n = F.layer_norm(x_nc, x_nc.shape[-1:], eps=self.eps)
        q, k = self.rotate(self.query(n)[None]), self.rotate(self.key(n)[None])
        return x_nc + attend(q, k, self.value(n)[None], scale=1.0).reshape(x_nc.shape)


class MemoryQuery(nn.Module):
    """Tokens (N, C) to scaled, rotated queries (1, N, C + columns) of a layer's reading of memory."""

    def __init__(self, layer: MemoryAttentionLayer, rotate: Rotation, columns: int) -> None:
        super().__init__()
        attn = layer.cross_attn_image
        self.eps, self.rotate = layer.norm2.eps, rotate
        query = LinearMap.of(attn.q_proj).after_norm(layer.norm2).scaled(attn.q_proj.out_features**-0.5)
        self.project = Projection(with_ones(query, columns), layer.norm2.weight.dtype)

    def forward(self, x_nc: Tensor) -> Tensor:
        return self.rotate(self.project(F.layer_norm(x_nc, x_nc.shape[-1:], eps=self.eps))[None])


def frame_rotation(model: EfficientTAM) -> Rotation:
    """The rotary embedding of a frame's tokens."""
    dtype = model.maskmem_tpos_enc.dtype
    return Rotation(*(table.to(dtype) for table in rotary_table(model.config.grid, model.config.width)))


class OrtFrameAttention(nn.Module):
    """Raw features (1, N, C) to tokens after the first self-attention (1, N, C) and the first layer's queries of memory
    (1, N, C + columns); the columns, a one and zeros, are for the bias of keys (see `score_column`).
    """

    def __init__(self, model: EfficientTAM, geometry: Geometry, deployment: Deployment) -> None:
        super().__init__()
        config = model.config
        require_exported(config)
        columns = edge_columns(geometry, deployment, "frame_attention", "query")
        layer, rotate = model.memory_attention.layers[0], frame_rotation(model)
        position = sine_tokens(config.grid, config.width, model.maskmem_tpos_enc.detach())
        self.register_buffer("position", position * POSITION_SCALE)
        self.attention = SelfAttention(layer, rotate)
        self.query = MemoryQuery(layer, rotate, columns)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        started = self.attention(features.reshape(self.position.shape) + self.position)
        return started[None], self.query(started)
