"""How far each surrogate cross-attention is from full attention on real memories (figures 3 and 7 of the paper).

A model tracks a clip as it is; at every cross-attention that reads two or more memories the queries, keys and
values are taken as they come, and full attention and each surrogate are computed from them.  Two relative errors, both
in the Frobenius norm: of the output, ||A V - S||_F / ||A V||_F, before the output projection, and of the weights,
||A - A_s||_F / ||A||_F, the surrogate's weights spread over all memory tokens.  A frame with one memory is left out:
the original does not pool there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..config import CrossAttention
from ..model import EfficientTAM
from ..model.cross_attention import full, pool_tokens, strategy_for
from ..model.memory_attention import Reading
from .attention_matrix import attention_matrix

Tokens = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""What a strategy takes: q (1, N, C), k and v (1, M, N, C), k_pointer and v_pointer (1, P, C)."""
Surrogates = Mapping[str, tuple[CrossAttention, int]]
"""Name -> (kind, pooling window)."""


@dataclass(frozen=True)
class ErrorRow:
    """One surrogate at one layer on one frame, for one object.  output, weights: relative errors, the second None
    where it was not measured.
    """

    frame: int
    layer: int
    memories: int
    surrogate: str
    output: float
    weights: float | None


@dataclass(frozen=True)
class Locality:
    """How well averages stand for keys and values: ||K - repeated averages||_F / ||K||_F over spatial tokens."""

    frame: int
    layer: int
    window: int
    keys: float
    values: float


def relative_error(found: Tensor, exact: Tensor) -> float:
    """||found - exact||_F / ||exact||_F."""
    return float(torch.linalg.vector_norm(found - exact) / torch.linalg.vector_norm(exact))


@contextmanager
def captured_tokens(model: EfficientTAM) -> Iterator[list[tuple[int, Tokens]]]:
    """A list that fills with (layer, tokens) of every cross-attention the model computes inside the block."""
    found: list[tuple[int, Tokens]] = []
    readings = [module for module in model.modules() if isinstance(module, Reading)]

    def hook_of(layer: int) -> Any:
        def hook(module: nn.Module, tokens: Tokens, output: Tensor) -> None:
            found.append((layer, tokens))

        return hook

    handles = [reading.register_forward_hook(hook_of(layer)) for layer, reading in enumerate(readings)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def errors_at(frame: int, layer: int, tokens: Tokens, surrogates: Surrogates, weights: bool = True) -> list[ErrorRow]:
    """One row per surrogate for the tokens of one cross-attention; none if it read a single memory."""
    q, k, _, k_pointer, _ = tokens
    memories = k.shape[1]
    if memories < 2:
        return []
    exact = full(*tokens)
    exact_weights = attention_matrix("full", q[0], k[0], k_pointer[0]) if weights else None
    rows = []
    for name, (kind, window) in surrogates.items():
        output = strategy_for(kind, memories, window)(*tokens)
        error = None
        if exact_weights is not None:
            error = relative_error(attention_matrix(kind, q[0], k[0], k_pointer[0], window=window), exact_weights)
        rows.append(ErrorRow(frame, layer, memories, name, relative_error(output, exact), error))
    return rows


def locality_at(frame: int, layer: int, tokens: Tokens, windows: tuple[int, ...] = (2, 4)) -> list[Locality]:
    """How local keys and values are, per window; none if a single memory was read."""
    _, k, v, _, _ = tokens
    if k.shape[1] < 2:
        return []
    return [Locality(frame, layer, w, _spread(k, w), _spread(v, w)) for w in windows]


def _spread(x_bmnc: Tensor, window: int) -> float:
    """What pooling loses of tokens.  An average is the nearest constant of its window, so the squares subtract."""
    kept = window**2 * pool_tokens(x_bmnc, window).double().square().sum()
    total = x_bmnc.double().square().sum()
    return float(((total - kept).clamp(min=0) / total).sqrt())
