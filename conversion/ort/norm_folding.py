"""Scale and shift of a layer norm inside the linear layer behind it.

W (g * x + s) + b = (W g) x + (W s + b).  Zeros that are padded between norm and linear layer would get the shift too:
padding has to come behind the linear layer.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn


class Affine(NamedTuple):
    """x -> x @ weight + shift + bias, in double precision.

    weight: (in, out).  shift: (out,), what the shift of the norm became.  bias: (out,), that of the linear layer.
    """

    weight: Tensor
    shift: Tensor
    bias: Tensor


def fold_norm(norm: nn.LayerNorm, weight: Tensor, bias: Tensor) -> Affine:
    """What the linear layer of `weight` (out, in) and `bias` (out,) behind `norm` is behind a norm without either."""
    rows = weight.detach().double()
    scale, shift = norm.weight.detach().double(), norm.bias.detach().double()
    return Affine((rows * scale).T.contiguous(), rows @ shift, bias.detach().double())
