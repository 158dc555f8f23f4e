"""Keys of object pointers, of all layers in one product: they have no position, so they are not turned."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...model.efficienttam import EfficientTAM
from .projection import LinearMap
from .score_column import column_of


class PointerKeys(nn.Module):
    """Pointer tokens (P, Cm) and their score bias (P, 1) to keys (1, P, C + columns) of each layer."""

    def __init__(self, model: EfficientTAM, columns: int) -> None:
        super().__init__()
        dtype = model.maskmem_tpos_enc.dtype
        projections = [LinearMap.of(layer.cross_attn_image.k_proj) for layer in model.memory_attention.layers]
        self.columns = columns
        self.register_buffer("weight", torch.stack([p.weight.T for p in projections]).to(dtype).contiguous())
        self.register_buffer("bias", torch.stack([p.bias for p in projections])[:, None].to(dtype))
        self.register_buffer("layers", torch.zeros(len(projections), 1, 1, dtype=dtype))

    def forward(self, tokens: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        keys = tokens @ self.weight + self.bias
        return torch.cat((keys, column_of(bias, self.columns) + self.layers), -1).split(1)
