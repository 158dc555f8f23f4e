"""The exact (erf) GELU as one operator of ONNX Runtime: one pass over the tensor instead of five."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .operators import DOMAIN


def gelu(x: Tensor) -> Tensor:
    """x (1 + erf(x / sqrt 2)) / 2, elementwise."""
    if torch.onnx.is_in_onnx_export():
        return torch.onnx.ops.symbolic(f"{DOMAIN}::Gelu", (x,), {}, dtype=x.dtype, shape=x.shape, version=1)
    return F.gelu(x)
