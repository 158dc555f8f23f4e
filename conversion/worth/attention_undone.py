"""Memory attention of `ort.memory_attention` and `ort.frame_attention` with one of its rewritings undone at a time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...model.cross_attention import LOG_WINDOW, POOL
from ...model.memory_attention import MemoryAttentionLayer
from ..ort.cached_keys import CachedKeys
from ..ort.direct_keys import DirectKeys
from ..ort.frame_attention import OrtFrameAttention, SelfAttention, frame_rotation
from ..ort.memory_attention import OrtMemoryAttention, Reading
from ..ort.operators import DOMAIN, attend
from ..ort.projection import LinearMap, Projection
from ..ort.rotation import Rotation, rotary_table, turn
from ..ort.score_column import MASKED, column_of
from ..portable.memory_attention import Rotation as HalvesRotation
from .subject import Subject


class SeparateValues(SelfAttention):
    """The projections of values and of the output one after another."""

    def __init__(self, layer: MemoryAttentionLayer, rotate: Rotation) -> None:
        super().__init__(layer, rotate)
        attn, dtype = layer.self_attn, layer.norm1.weight.dtype
        self.value = Projection(LinearMap.of(attn.v_proj).after_norm(layer.norm1), dtype)
        self.out = Projection(LinearMap.of(attn.out_proj), dtype)

    def forward(self, x_nc: Tensor) -> Tensor:
        n = F.layer_norm(x_nc, x_nc.shape[-1:], eps=self.eps)
        q, k = self.rotate(self.query(n)[None]), self.rotate(self.key(n)[None])
        return x_nc + self.out(attend(q, k, self.value(n)[None], scale=1.0).reshape(x_nc.shape))


class HalvesFirst(nn.Module):
    """A projection whose results are turned: even channels in one half, odd ones in the other, so that plain slices,
    products and a concatenation do it.
    """

    def __init__(self, projection: Projection) -> None:
        super().__init__()
        width = len(projection.bias)
        order = torch.cat((torch.arange(0, width, 2), torch.arange(1, width, 2)))
        self.register_buffer("weight", projection.weight[:, order].contiguous())
        self.register_buffer("bias", projection.bias[order])

    def forward(self, x_nc: Tensor) -> Tensor:
        return torch.addmm(self.bias, x_nc, self.weight)


def frame_attention_without(subject: Subject, what: str) -> nn.Module:
    """frame_attention with one rewriting undone: ``joined values`` or ``rotation``."""
    model = subject.model
    graph = OrtFrameAttention(model, subject.geometry, subject.deployment)
    if what == "joined values":
        graph.attention = SeparateValues(model.memory_attention.layers[0], frame_rotation(model))
        return graph.eval()
    rotate = HalvesRotation(model.config.grid, model.config.width)
    rotate.cos, rotate.sin = (t.to(subject.dtype) for t in rotary_table(model.config.grid, model.config.width))
    for part, names in ((graph.attention, ("query", "key")), (graph.query, ("project",))):
        part.rotate = rotate
        for name in names:
            setattr(part, name, HalvesFirst(getattr(part, name)))
    return graph.eval()


class WideReading(Reading):
    """Values are projected to the width of the queries before they are weighed."""

    def __init__(self, layer: MemoryAttentionLayer, rotate: Rotation, columns: int, first: bool) -> None:
        super().__init__(layer, rotate, columns, first)
        attn, dtype = layer.cross_attn_image, layer.norm1.weight.dtype
        self.values = Projection(LinearMap.of(attn.v_proj), dtype)
        self.out = Projection(LinearMap.of(attn.out_proj), dtype)

    def forward(self, x_nc: Tensor, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return super().forward(x_nc, query, keys, self.values(values[0])[None])


def with_wide_values(subject: Subject) -> nn.Module:
    """memory_attention whose layers project the values of all memories."""
    graph = OrtMemoryAttention(subject.model, subject.geometry, subject.deployment, subject.slots)
    rotate, columns = frame_rotation(subject.model), graph.keys.columns
    layers = enumerate(subject.model.memory_attention.layers)
    graph.layers = nn.ModuleList(WideReading(layer, rotate, columns, first=i == 0) for i, layer in layers)
    return graph.eval()


class BareKeys(CachedKeys):
    """Keys without the column, and their biases (1, 1, 1, M)."""

    def apart(
        self, keys: tuple[Tensor, ...], memory_row: Tensor, pointer_tokens: Tensor, pointer_bias: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        layers, side = self.layers, self.side
        terms = (memory_row @ self.temporal).reshape(self.slots, 2, layers, side * self.half)
        x = terms[:, 0].reshape(self.slots, layers, 1, side, self.half)
        y = terms[:, 1].reshape(self.slots, layers, side, 1, self.half)
        x, y = torch.cat((x, torch.zeros_like(x)), -1), torch.cat((torch.zeros_like(y), y), -1)
        slots = [
            (key.reshape(1, layers, side, side, -1) + a + b).reshape(layers, side * side, -1).split(1)
            for key, a, b in zip(keys, x.split(1), y.split(1), strict=True)
        ]
        pointers = (pointer_tokens @ self.pointers.weight + self.pointers.bias).split(1)
        bias = self.used + (1 - memory_row.sum(1, keepdim=True)) * MASKED
        bias = torch.cat((bias.expand(self.slots, side * side).reshape(-1), pointer_bias.reshape(-1)))
        return [torch.cat((*(s[i] for s in slots), pointers[i]), 1) for i in range(layers)], bias[None, None, None]


def attend_with_bias(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """softmax(q k^T + bias) v of one head; the bias (1, 1, N, M) is an input of the fused operator."""
    if torch.onnx.is_in_onnx_export():
        return torch.onnx.ops.symbolic(
            f"{DOMAIN}::MultiHeadAttention",
            (q, k, v, None, None, bias),
            {"num_heads": 1, "scale": 1.0},
            dtype=q.dtype,
            shape=(*q.shape[:2], v.shape[-1]),
            version=1,
        )
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias[0], scale=1.0)


class BiasedReading(Reading):
    """A reading that adds a bias to its scores: (1, 1, N, M) for the fused operator, (1, 1, 1, M) for a plain sum."""

    def with_bias(self, x_nc: Tensor, query: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        if bias.shape[2] > 1:
            read = attend_with_bias(query, keys, values, bias)
        else:
            read = torch.softmax(query @ keys.transpose(1, 2) + bias[0], -1) @ values
        x_nc = x_nc + self.out(read.reshape(x_nc.shape[0], -1))
        hidden = F.relu(self.widen(F.layer_norm(x_nc, x_nc.shape[-1:], eps=self.eps)))
        return x_nc + self.narrow(hidden)


class BiasedMemoryAttention(OrtMemoryAttention):
    """Slot weights as biases: an input of the fused operator, or a term of scores that are written out."""

    def __init__(self, subject: Subject, fused: bool) -> None:
        model, deployment = subject.model, subject.deployment
        super().__init__(model, subject.geometry, deployment, subject.slots)
        rotate = frame_rotation(model)
        layers = enumerate(model.memory_attention.layers)
        self.layers = nn.ModuleList(BiasedReading(layer, rotate, 0, first=i == 0) for i, layer in layers)
        self.keys = BareKeys(model, subject.slots, deployment.pool, 0, 1)
        zeros = torch.zeros(1, 1, subject.geometry.tokens if fused else 1, 1, dtype=subject.dtype)
        self.register_buffer("rows", zeros)

    def forward(self, started: Tensor, query: Tensor, *ports: Tensor) -> Tensor:
        slots, (memory_row, pointers, pointer_used) = self.slots, ports[-3:]
        tokens = pointers.reshape(self.pointer_tokens, -1)
        pointer_bias = ((1 - pointer_used) * MASKED + self.no_bias).reshape(-1, 1)
        keys, bias = self.keys.apart(ports[slots:-3], memory_row, tokens, pointer_bias)
        values = torch.cat((*ports[:slots], tokens[None]), 1)
        bias = bias + self.rows
        x = started.reshape(started.shape[1:])
        for index, (layer, key) in enumerate(zip(self.layers, keys, strict=True)):
            if index:
                x, query = layer.start(x)
            x = layer.with_bias(x, query, key, values, bias)
        return self.norm(x)[None]


class PooledDirectKeys(DirectKeys):
    """Keys of whole memories, projected and turned token by token and then pooled, for each layer."""

    def __init__(self, subject: Subject, columns: int) -> None:
        geometry, kind = subject.geometry, subject.config.cross_attention
        tokens = geometry.pointer_slots * subject.config.pointer_tokens
        super().__init__(subject.model, subject.slots, tokens, columns)
        self.half = geometry.grid // POOL
        self.constant = LOG_WINDOW if kind == "pooled_key_constant" else 0.0
        weighted = LOG_WINDOW if kind == "pooled_score_bias" else 0.0
        self.register_buffer("used", torch.full((subject.slots, self.half**2, 1), weighted, dtype=subject.dtype))

    def pooled(self, x_nc: Tensor) -> Tensor:
        """Windows of (slots * N, C) tokens averaged."""
        channels = x_nc.shape[-1]
        upper, lower = x_nc.reshape(-1, POOL, self.half, POOL * channels).split(1, 1)
        left, right = (upper + lower).split(channels, 3)
        return ((left + right) * (1 / POOL**2)).reshape(-1, channels)

    def forward(
        self, memories: tuple[Tensor, ...], memory_row: Tensor, pointer_tokens: Tensor, pointer_bias: Tensor
    ) -> list[Tensor]:
        placed = torch.cat(memories) + self.position + (memory_row @ self.rows)[:, None]
        bias = self.used + ((1 - memory_row.sum(1, keepdim=True)) * MASKED)[:, None]
        column = column_of(torch.cat((bias.reshape(-1, 1), pointer_bias)), self.columns)
        placed = placed.reshape(self.tokens, -1)
        cos, sin = torch.cat((self.cos,) * self.slots), torch.cat((self.sin,) * self.slots)
        found = []
        for project in self.projections:
            keys = self.pooled(turn(project(placed)[None], cos, sin)[0])
            if self.constant:
                keys = keys + self.constant
            found.append(torch.cat((torch.cat((keys, project(pointer_tokens))), column), -1)[None])
        return found


class KeysOnEveryFrame(nn.Module):
    """memory_attention on whole memories, of which it computes everything itself."""

    def __init__(self, subject: Subject) -> None:
        super().__init__()
        self.inner = OrtMemoryAttention(subject.model, subject.geometry, subject.deployment, subject.slots)
        columns = self.inner.keys.columns
        if subject.pools:
            self.inner.keys = PooledDirectKeys(subject, columns)
        else:
            self.inner.keys = DirectKeys(subject.model, subject.slots, self.inner.pointer_tokens, columns)
        self.pools = subject.pools

    def forward(self, started: Tensor, query: Tensor, *ports: Tensor) -> Tensor:
        memories, values = ports[:-3], ports[:-3]
        if self.pools:
            values = self.inner.keys.pooled(torch.cat(memories).flatten(0, 1)).reshape(
                len(memories), -1, memories[0].shape[-1]
            )
            values = values.split(1)
        return self.inner(started, query, *values, *memories, *ports[-3:])
