"""Memory attention after its first self-attention, for a fixed number of memory slots.

Weights of a softmax sum to one, so softmax(A) (M Wv^T + bv) Wo^T + bo = (softmax(A) M) (Wo Wv)^T + Wo bv + bo: all
layers read the same memory-wide values, and value and output projections are one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...graphs.contract import Geometry, memory_attention_name
from ...graphs.ort_contract import Deployment, keys_port, ort_contract
from ...model.efficienttam import EfficientTAM
from ...model.memory_attention import MemoryAttentionLayer
from ..portable.memory_attention import require_exported
from .cached_keys import CachedKeys
from .direct_keys import DirectKeys
from .frame_attention import MemoryQuery, SelfAttention, frame_rotation
from .operators import attend
from .projection import LinearMap, Projection
from .rotation import Rotation
from .score_column import MASKED, edge_columns


class Reading(nn.Module):
    """What tokens take from memory, and the MLP after it.

    start: the part before it, self-attention and queries; the first layer has it in another graph.
    """

    def __init__(self, layer: MemoryAttentionLayer, rotate: Rotation, columns: int, first: bool) -> None:
        super().__init__()
        dtype = layer.norm1.weight.dtype
        self.attention = None if first else SelfAttention(layer, rotate)
        self.query = None if first else MemoryQuery(layer, rotate, columns)
        attn = layer.cross_attn_image
        self.out = Projection(LinearMap.of(attn.out_proj).after(LinearMap.of(attn.v_proj)), dtype)
        self.eps = layer.norm3.eps
        self.widen = Projection(LinearMap.of(layer.linear1).after_norm(layer.norm3), dtype)
        self.narrow = Projection(LinearMap.of(layer.linear2), dtype)

    def start(self, x_nc: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens after self-attention and their queries."""
        if self.attention is None or self.query is None:
            raise RuntimeError("the first layer is started by frame_attention")
        x_nc = self.attention(x_nc)
        return x_nc, self.query(x_nc)

    def forward(self, x_nc: Tensor, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        read = attend(query, keys, values, scale=1.0)
        x_nc = x_nc + self.out(read.reshape(x_nc.shape[0], -1))
        hidden = F.relu(self.widen(F.layer_norm(x_nc, x_nc.shape[-1:], eps=self.eps)))
        return x_nc + self.narrow(hidden)


class OrtMemoryAttention(nn.Module):
    """started, query, the memories of `slots` slots, their keys if these are cached, memory_row, pointers and
    pointer_used, to fused tokens (1, N, C).

    Keys that the contract does not pass in are computed here, from whole memories.
    """

    def __init__(self, model: EfficientTAM, geometry: Geometry, deployment: Deployment, slots: int) -> None:
        super().__init__()
        config = model.config
        require_exported(config)
        graph = ort_contract(geometry, deployment)[memory_attention_name(slots)]
        self.slots = slots
        self.cached = any(port.name == keys_port(0) for port in graph.inputs)
        query_edge = edge_columns(geometry, deployment, graph.name, "query")
        keys_edge = edge_columns(geometry, deployment, graph.name, keys_port(0)) if self.cached else 0
        columns = max(query_edge, keys_edge, 1)
        rotate = frame_rotation(model)
        self.pointer_tokens = geometry.pointer_slots * config.pointer_tokens
        self.layers = nn.ModuleList(
            Reading(layer, rotate, columns, first=i == 0) for i, layer in enumerate(model.memory_attention.layers)
        )
        self.keys: CachedKeys | DirectKeys
        if self.cached:
            self.keys = CachedKeys(model, slots, deployment.pool, keys_edge, columns)
        else:
            self.keys = DirectKeys(model, slots, self.pointer_tokens, columns)
        self.norm = model.memory_attention.norm
        dtype = model.maskmem_tpos_enc.dtype
        self.register_buffer("no_bias", torch.zeros(1, config.pointer_tokens, dtype=dtype))
        ones = torch.eye(1, columns, dtype=dtype).expand(1, geometry.tokens, columns)
        self.register_buffer("ones", None if query_edge else ones.contiguous())

    def forward(self, started: Tensor, query: Tensor, *ports: Tensor) -> Tensor:
        slots = self.slots
        memories, (memory_row, pointers, pointer_used) = ports[:slots], ports[-3:]
        tokens = pointers.reshape(self.pointer_tokens, -1)
        pointer_bias = ((1 - pointer_used) * MASKED + self.no_bias).reshape(-1, 1)
        keys = self.keys(ports[slots:-3] if self.cached else memories, memory_row, tokens, pointer_bias)
        values = torch.cat((*memories, tokens[None]), 1)
        if self.ones is not None:
            query = torch.cat((query, self.ones), -1)
        x = self.layers[0](started.reshape(started.shape[1:]), query, keys[0], values)
        for layer, key in zip(self.layers[1:], keys[1:], strict=True):
            x, query = layer.start(x)
            x = layer(x, query, key, values)
        return self.norm(x)[None]
