"""Attention as one operator (iOS 18)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .activation import softmax
from .declaration import operator

Array = Any


@operator("scaled_dot_product_attention", alike=("query", "key", "value"))
def scaled_dot_product_attention(query: Array, key: Array, value: Array, attn_mask: Array | None = None) -> Array:
    """query (B, ..., L, E), key (B, ..., S, E), value (B, ..., S, EV); the scale is 1 / sqrt(E).

    A mask of truth values says which keys take part, one of numbers is added to the scores.
    """
    if query.ndim < 3 or query.shape[:-2] != key.shape[:-2] or key.shape[:-1] != value.shape[:-1]:
        raise ValueError(f"queries {query.shape}, keys {key.shape} and values {value.shape} do not fit")
    scores = np.matmul(query * np.float32(1 / math.sqrt(query.shape[-1])), key.swapaxes(-1, -2))
    if attn_mask is not None:
        scores = np.where(attn_mask, scores, -np.inf) if attn_mask.dtype == np.bool_ else scores + attn_mask
    return np.matmul(softmax(scores.astype(np.float32, copy=False)), value)
