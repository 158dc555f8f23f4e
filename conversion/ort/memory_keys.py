"""What memory attention reads of a memory, computed once when the memory is written.

The keys of layer l are pool(turn(Wk m + Wk position + bk)), without the temporal row, which changes as a memory ages
(see `cached_keys`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...graphs.contract import Geometry
from ...graphs.ort_contract import Deployment
from ...model.cross_attention import LOG_WINDOW, POOL
from ...model.efficienttam import EfficientTAM
from ...model.position import sine_tokens
from ..portable.memory_attention import require_exported
from .pooled_rotation import window_sums, window_weight
from .projection import LinearMap
from .rotation import Rotation, rotary_table
from .score_column import edge_columns


class OrtMemoryKeys(nn.Module):
    """A memory (1, N, Cm) to its keys for each layer (layers, tokens, C + columns), and before them, if the model
    pools, to the pooled memory (1, tokens, Cm).  The columns are zeros; the reader puts the score bias there.
    """

    def __init__(self, model: EfficientTAM, geometry: Geometry, deployment: Deployment) -> None:
        super().__init__()
        config = model.config
        require_exported(config)
        dtype = model.maskmem_tpos_enc.dtype
        columns = edge_columns(geometry, deployment, "memory_keys", "keys")
        self.grid, self.pool = geometry.grid, deployment.pool
        projections = [LinearMap.of(layer.cross_attn_image.k_proj) for layer in model.memory_attention.layers]
        position = sine_tokens(self.grid, config.memory_width, torch.zeros((), dtype=torch.float64))[None]
        weights = [p.weight for p in projections]
        if self.pool > 1:
            weights = [window_weight(weight) for weight in weights]
            position = torch.cat(window_sums(position, self.grid), -1)
        # The bias enters through a one behind the position, so that one product gives the keys of all layers.
        rows = [torch.cat((w, p.bias[:, None]), 1) for w, p in zip(weights, projections, strict=True)]
        weight = torch.stack(rows).transpose(1, 2)
        weight = torch.cat((weight, weight.new_zeros(*weight.shape[:2], columns)), 2)
        self.register_buffer("weight", weight.to(dtype).contiguous())
        self.register_buffer("position", torch.cat((position, torch.ones_like(position[..., :1])), 2).to(dtype))
        self.register_buffer("room", torch.zeros_like(self.position[..., :1]))
        self.rotate = Rotation(*(t.to(dtype) for t in rotary_table(self.grid, config.width, self.pool)))
        constant = None
        if config.cross_attention == "pooled_key_constant":  # equation 6
            constant = torch.tensor([LOG_WINDOW] * config.width + [0.0] * columns, dtype=torch.float64).to(dtype)
        self.register_buffer("constant", constant)

    def forward(self, memory: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        if self.pool == 1:
            return self.keys((memory,))
        sums = window_sums(memory, self.grid)
        return sums[0] * (1 / POOL**2), self.keys(sums)

    def keys(self, parts: tuple[Tensor, ...]) -> Tensor:
        """Keys of all layers from the parts of a memory that they are projected from."""
        keys = self.rotate((torch.cat((*parts, self.room), -1) + self.position) @ self.weight)
        return keys if self.constant is None else keys + self.constant
