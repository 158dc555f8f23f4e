"""Operators of ONNX Runtime as functions: plain PyTorch when run, one fused node when exported."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

DOMAIN = "com.microsoft"


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int = 1, scale: float | None = None) -> Tensor:
    """softmax(q k^T scale) v per head, without bias or mask, which keeps ONNX Runtime on its tiled path.

    Args:
        q: (B, N, heads * D); k: (B, M, heads * D); v: (B, M, heads * Dv).
        scale: by default 1 / sqrt(D); 1 if the queries are scaled already.

    Returns:
        (B, N, heads * Dv).
    """
    depth = q.shape[-1] // heads
    scale = depth**-0.5 if scale is None else scale
    if torch.onnx.is_in_onnx_export():
        return torch.onnx.ops.symbolic(
            f"{DOMAIN}::MultiHeadAttention",
            (q, k, v),
            {"num_heads": heads, "scale": float(scale)},
            dtype=q.dtype,
            shape=(q.shape[0], q.shape[1], v.shape[-1]),
            version=1,
        )
    parts = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(*parts, scale=scale).transpose(1, 2).flatten(2)
