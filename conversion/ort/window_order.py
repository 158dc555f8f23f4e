"""Tokens ordered window by window, so that a group of windows is a slice and no block has to cut a map.

Attention does not depend on the order of its tokens, and everything else in a block acts on each token alone: blocks
that attend in windows and blocks that attend globally give the same tokens in any order, as long as the position
embedding is added before.  Patches are taken from the image in this order, and tokens are put back in the neck.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class WindowGroup:
    """Windows with equally many tokens on the map, next to each other in the order.

    start: position of the first token.  windows: how many.  tokens: tokens of the map in each.  padding: cells of each
    that reach over the border of the map.
    """

    start: int
    windows: int
    tokens: int
    padding: int

    @property
    def stop(self) -> int:
        """Position behind the last token."""
        return self.start + self.windows * self.tokens


def window_order(grid: int, window: int) -> tuple[Tensor, tuple[WindowGroup, ...]]:
    """The order of the tokens of a (grid, grid) map in windows of (window, window) cells from the top left.

    Returns:
        For every position of the new order the row-major index of its token, int64 (grid * grid,); and the groups,
        whole windows first.
    """
    index = torch.arange(grid * grid).view(grid, grid)
    starts = range(0, grid, window)
    pieces = [index[y : y + window, x : x + window].flatten() for y in starts for x in starts]
    pieces.sort(key=lambda piece: -len(piece))  # stable: row-major among equals
    groups: list[WindowGroup] = []
    position = 0
    for tokens in sorted({len(piece) for piece in pieces}, reverse=True):
        count = sum(len(piece) == tokens for piece in pieces)
        groups.append(WindowGroup(position, count, tokens, window * window - tokens))
        position += count * tokens
    return torch.cat(pieces), tuple(groups)
