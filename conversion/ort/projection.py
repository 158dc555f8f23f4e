"""Linear maps that are joined in double precision and applied as one product."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .norm_folding import fold_norm


class LinearMap:
    """x -> x @ weight^T + bias in double precision: `weight` (out, in), `bias` (out,)."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.weight, self.bias = weight.detach().double(), bias.detach().double()

    @classmethod
    def of(cls, linear: nn.Linear) -> LinearMap:
        return cls(linear.weight, linear.bias)

    def after(self, first: LinearMap) -> LinearMap:
        """This map of the result of `first`."""
        return LinearMap(self.weight @ first.weight, self.weight @ first.bias + self.bias)

    def after_norm(self, norm: nn.LayerNorm) -> LinearMap:
        """This map of what `norm` returns, as a map of the norm without scale and shift."""
        folded = fold_norm(norm, self.weight, self.bias)
        return LinearMap(folded.weight.T, folded.shift + folded.bias)

    def scaled(self, factor: float) -> LinearMap:
        """This map times a number."""
        return LinearMap(self.weight * factor, self.bias * factor)


class Projection(nn.Module):
    """A `LinearMap` of (N, in) rows in the precision of `dtype`."""

    def __init__(self, linear: LinearMap, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("weight", linear.weight.T.to(dtype).contiguous())
        self.register_buffer("bias", linear.bias.to(dtype))

    def forward(self, x_nc: Tensor) -> Tensor:
        return torch.addmm(self.bias, x_nc, self.weight)
