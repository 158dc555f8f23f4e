"""Keys of all slots from those that were computed when the memories were written.

turn(Wk (m + position + t) + bk) = turn(Wk (m + position) + bk) + turn(Wk t), so what is added for the age of a memory
does not depend on the memory.  Pooled, the turn is by the averaged table, and because one half of the channels turns
with x and the other with y, the term needs a row for every column and every line of the grid, not for every token.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...model.cross_attention import LOG_WINDOW
from ...model.efficienttam import EfficientTAM
from .pointer_keys import PointerKeys
from .rotation import Rotation, rotary_table
from .score_column import MASKED, column_of


class CachedKeys(nn.Module):
    """Keys of `slots` memories and of the pointers, for each layer.

    edge: trailing columns that the cached keys have already (0, or `columns`); columns: those of the result.
    window: side of the windows that the keys were pooled over, 1 without pooling.
    """

    def __init__(self, model: EfficientTAM, slots: int, window: int, edge: int, columns: int) -> None:
        super().__init__()
        config = model.config
        dtype = model.maskmem_tpos_enc.dtype
        self.layers, self.slots, self.edge, self.columns = config.memory_layers, slots, edge, columns
        self.side, self.half = config.grid // window, config.width // 2
        rows = model.maskmem_tpos_enc.detach().double().reshape(-1, config.memory_width)
        weights = [layer.cross_attn_image.k_proj.weight.detach().double() for layer in model.memory_attention.layers]
        along = []
        for axis, turn in enumerate(_axial_rotations(config.grid, config.width, window)):
            terms = [(rows @ w.T)[:, axis * self.half :][:, : self.half] for w in weights]
            along.append(torch.stack([turn(t[:, None].expand(-1, self.side, -1)) for t in terms], 1))
        self.register_buffer("temporal", torch.stack(along, 1).flatten(1).to(dtype).contiguous())
        weighted = LOG_WINDOW if config.cross_attention == "pooled_score_bias" and window > 1 else 0.0
        self.register_buffer("used", torch.full((slots, 1), weighted, dtype=dtype))
        self.register_buffer("right", torch.zeros(slots, self.layers, 1, self.side, self.half + columns, dtype=dtype))
        self.register_buffer("left", torch.zeros(slots, self.layers, self.side, 1, self.half, dtype=dtype))
        self.register_buffer("room", torch.zeros(1, config.memory_layers, self.side, self.side, columns, dtype=dtype))
        self.pointers = PointerKeys(model, columns)

    def forward(
        self, keys: tuple[Tensor, ...], memory_row: Tensor, pointer_tokens: Tensor, pointer_bias: Tensor
    ) -> list[Tensor]:
        """Keys (1, slots * tokens + pointer tokens, C + columns) of each layer, with their score bias.

        Args:
            keys: of each slot (layers, tokens, C + edge).
            memory_row: (slots, rows), one-hot; zeros where a slot is unused.
            pointer_tokens: (P, Cm). pointer_bias: (P, 1).
        """
        layers, side = self.layers, self.side
        terms = (memory_row @ self.temporal).reshape(self.slots, 2, layers, side * self.half)
        along_x, along_y = terms.split(1, 1)
        bias = self.used
        if self.slots > 1:
            bias = bias + (1 - memory_row.sum(1, keepdim=True)) * MASKED
        bias = column_of(bias, self.columns).reshape(self.slots, 1, 1, 1, self.columns)
        along_x = torch.cat((along_x.reshape(self.slots, layers, 1, side, self.half), self.right), -1)
        along_y = torch.cat(
            (
                self.left,
                along_y.reshape(self.slots, layers, side, 1, self.half),
                bias.expand(self.slots, layers, side, 1, self.columns),
            ),
            -1,
        )
        cut: list[tuple[Tensor, ...]] = []
        for key, x, y in zip(keys, along_x.split(1), along_y.split(1), strict=True):
            grid = key.reshape(1, layers, side, side, key.shape[-1])
            if self.edge == 0:
                grid = torch.cat((grid, self.room), -1)
            cut.append((grid + x + y).reshape(layers, side * side, -1).split(1))
        pointers = self.pointers(pointer_tokens, pointer_bias)
        return [torch.cat((*(slot[i] for slot in cut), pointers[i]), 1) for i in range(layers)]


def _axial_rotations(grid: int, width: int, window: int) -> tuple[Rotation, Rotation]:
    """The turns of the first half of the channels along a line of the pooled grid, of the second half down a column."""
    side, quarter = grid // window, width // 4
    cos, sin = (table.unflatten(0, (side, side)) for table in rotary_table(grid, width, window))
    return Rotation(cos[0, :, :quarter], sin[0, :, :quarter]), Rotation(cos[:, 0, quarter:], sin[:, 0, quarter:])
