"""Attention without biases on keys and values.

A constant c on every key adds q c to all scores of a query, which the softmax does not see.  A constant c on every
value comes out as it went in, because the weights of a query sum to one: softmax(A) (V + 1 c) = softmax(A) V + 1 c; so
it can be added behind the output projection.  With a further token that stays as it is, that token has to move by -c
on both sides.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from .norm_folding import fold_norm


class Projections(NamedTuple):
    """Self-attention behind a norm without scale and shift, in double precision.

    query, key, value: (C, C), applied from the right.  query_bias: (C,).  pad_key, pad_value: (C,), of a token that is
    zero where it enters the projections.  out: (C, C) from the right, with out_bias: (C,).
    """

    query: Tensor
    query_bias: Tensor
    key: Tensor
    pad_key: Tensor
    value: Tensor
    pad_value: Tensor
    out: Tensor
    out_bias: Tensor


def without_biases(norm: nn.LayerNorm, qkv: nn.Linear, proj: nn.Linear) -> Projections:
    """The projections of attention over norm(x), biases only where they are needed.

    Args:
        norm: of width C.
        qkv: C to 3 C: queries, keys, values.
        proj: C to C.
    """
    query, key, value = (
        fold_norm(norm, weight, bias) for weight, bias in zip(qkv.weight.chunk(3), qkv.bias.chunk(3), strict=True)
    )
    out = proj.weight.detach().double().T.contiguous()
    return Projections(
        query=query.weight,
        query_bias=query.shift + query.bias,
        key=key.weight,
        pad_key=-key.shift,  # its key is the bias alone, the others' key loses shift + bias
        value=value.weight,
        pad_value=-value.shift,
        out=out,
        out_bias=(value.shift + value.bias) @ out + proj.bias.detach().double(),
    )
