"""Keys of all slots computed where they are read: unpooled memories, whose keys are large and quickly computed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...model.efficienttam import EfficientTAM
from ...model.position import sine_tokens
from .projection import LinearMap, Projection
from .rotation import rotary_table, turn
from .score_column import MASKED, column_of


class DirectKeys(nn.Module):
    """Keys of `slots` whole memories and of the pointers, for each layer.

    Pointers go through the same products and are turned by nothing.
    """

    def __init__(self, model: EfficientTAM, slots: int, pointer_tokens: int, columns: int) -> None:
        super().__init__()
        config = model.config
        dtype = model.maskmem_tpos_enc.dtype
        cells = config.grid**2
        self.slots, self.columns, self.tokens = slots, columns, slots * cells
        position = sine_tokens(config.grid, config.memory_width, torch.zeros((), dtype=torch.float64))
        self.register_buffer("position", position.to(dtype))
        self.register_buffer("rows", model.maskmem_tpos_enc.detach().reshape(-1, config.memory_width).clone())
        cos, sin = rotary_table(config.grid, config.width)
        self.register_buffer("cos", cos.to(dtype))
        self.register_buffer("sin", sin.to(dtype))
        self.register_buffer("still", torch.ones(pointer_tokens, config.width // 2, dtype=dtype))
        self.projections = nn.ModuleList(
            Projection(LinearMap.of(layer.cross_attn_image.k_proj), dtype) for layer in model.memory_attention.layers
        )
        self.register_buffer("used", torch.zeros(slots, cells, 1, dtype=dtype))

    def forward(
        self, memories: tuple[Tensor, ...], memory_row: Tensor, pointer_tokens: Tensor, pointer_bias: Tensor
    ) -> list[Tensor]:
        """Keys (1, slots * N + pointer tokens, C + columns) of each layer, with their score bias.

        Args:
            memories: of each slot (1, N, Cm).
            memory_row: (slots, rows), one-hot; zeros where a slot is unused.
            pointer_tokens: (P, Cm). pointer_bias: (P, 1).
        """
        memory = torch.cat(memories) if self.slots > 1 else memories[0]
        placed = memory + self.position + (memory_row @ self.rows)[:, None]
        bias = self.used
        if self.slots > 1:
            bias = bias + ((1 - memory_row.sum(1, keepdim=True)) * MASKED)[:, None]
        column = column_of(torch.cat((bias.reshape(self.tokens, 1), pointer_bias)), self.columns)
        sources = torch.cat((placed.reshape(self.tokens, -1), pointer_tokens))
        # One table for all slots is put together when the graph is loaded, so that a file does not repeat it.
        cos = torch.cat((self.cos,) * self.slots + (self.still,))
        sin = torch.cat((self.sin,) * self.slots + (self.still - 1,))
        return [turn(torch.cat((project(sources), column), -1)[None], cos, sin) for project in self.projections]
