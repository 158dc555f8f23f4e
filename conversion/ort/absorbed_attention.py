"""Attention between a few tokens and many image cells, in which no image cell is ever projected.

Per head, with x the cells, p their positions, t the tokens and e the places of both in the softmax:

    tokens read cells:  (t Wq + bq) ((x + p) Wk + bk)^T  =  ((t Wq + bq) Wk^T) (x + p)^T + constant of the query,
                        softmax(.) (x Wv + bv)           =  (softmax(.) x) Wv + bv;
    cells read tokens:  ((x + p) Wq + bq) (t Wk + bk)^T  =  (x + p) (Wq k^T) + bq k^T      with k = t Wk + bk,
                        softmax(.) (t Wv + bv) Wo + bo   =  softmax(.) (t Wv Wo) + bv Wo + bo.

A constant of the query cancels in the softmax and weights sum to 1, so biases of values become biases of the output.
T tokens and H heads make H T rows of the cells' width: cheaper than projecting the cells to the inner width while
H T is below it, and rows of all heads share one product.  All tensors are rows of tokens without a batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...model.mask_decoder import TokenAttention


class TokensReadImage(nn.Module):
    """Tokens (T, C) read cells (N, C).

    shift: (C,), a constant of all cells that the values lack when `read` gets them (the scores need none of it).
    """

    def __init__(self, attn: TokenAttention, shift: Tensor | None = None) -> None:
        super().__init__()
        dtype = attn.q_proj.weight.dtype
        inner, width = attn.q_proj.weight.shape
        self.heads, self.depth = attn.heads, inner // attn.heads
        scale = self.depth**-0.5
        query, key, value, out = (
            layer.weight.detach().double() for layer in (attn.q_proj, attn.k_proj, attn.v_proj, attn.out_proj)
        )
        value_bias, out_bias = attn.v_proj.bias.detach().double(), attn.out_proj.bias.detach().double()
        if shift is not None:
            value_bias = value_bias + value @ shift.double()
        for name, tensor in (
            ("query", query.T * scale),
            ("query_bias", attn.q_proj.bias.detach().double() * scale),
            ("key", key.view(self.heads, self.depth, width)),
            ("value", value.view(self.heads, self.depth, width).transpose(1, 2)),
            ("out", out.T),
            ("out_bias", out_bias + out @ value_bias),
        ):
            self.register_buffer(name, tensor.to(dtype).contiguous())

    def queries(self, tokens_tc: Tensor) -> Tensor:
        """The tokens as vectors (H * T, C), head by head, whose products with cells are the scores."""
        q = torch.addmm(self.query_bias, tokens_tc, self.query).reshape(-1, self.heads, self.depth)
        return (q.transpose(0, 1) @ self.key).reshape(-1, self.key.shape[2])

    def read(self, queries: Tensor, placed_nc: Tensor, image_nc: Tensor) -> Tensor:
        """What the tokens read, (T, C), without their residual.

        Args:
            queries: of `queries`.
            placed_nc: the cells with their positions; any vector added to all of them changes nothing.
            image_nc: the cells without, less `shift`.
        """
        weights = torch.softmax(queries @ placed_nc.T, -1)
        mean = (weights @ image_nc).reshape(self.heads, -1, image_nc.shape[1])
        values = (mean @ self.value).transpose(0, 1).reshape(-1, self.heads * self.depth)
        return torch.addmm(self.out_bias, values, self.out)


class ImageReadsTokens(nn.Module):
    """Cells (N, C) read tokens (T, C).

    shift: (C,), a constant that is added to every cell of the result.
    """

    def __init__(self, attn: TokenAttention, shift: Tensor | None = None) -> None:
        super().__init__()
        dtype = attn.q_proj.weight.dtype
        inner, width = attn.q_proj.weight.shape
        self.heads, self.depth = attn.heads, inner // attn.heads
        scale = self.depth**-0.5
        query, key, value, out = (
            layer.weight.detach().double() for layer in (attn.q_proj, attn.k_proj, attn.v_proj, attn.out_proj)
        )
        constant = attn.out_proj.bias.detach().double() + out @ attn.v_proj.bias.detach().double()
        if shift is not None:
            constant = constant + shift.double()
        for name, tensor in (
            ("key", key.T),
            ("key_bias", attn.k_proj.bias.detach().double()),
            ("query", query.view(self.heads, self.depth, width) * scale),
            ("query_bias", attn.q_proj.bias.detach().double().view(self.heads, self.depth, 1) * scale),
            ("value", value.T),
            ("out", out.T.reshape(self.heads, self.depth, width)),
            ("constant", constant / self.heads),  # each head's weights sum to 1
        ):
            self.register_buffer(name, tensor.to(dtype).contiguous())

    def split(self, x_tc: Tensor) -> Tensor:
        return x_tc.reshape(-1, self.heads, self.depth).transpose(0, 1)

    def forward(
        self, image_nc: Tensor, placed_nc: Tensor, keys_tc: Tensor, values_tc: Tensor, bias_t1: Tensor
    ) -> Tensor:
        """The cells and what they read, (N, C).

        Args:
            image_nc: the cells, the residual.
            placed_nc: the cells with their positions.
            keys_tc, values_tc: the tokens with and without their positions.
            bias_t1: added to the scores of each token: the log of how many it stands for, very negative for none.
        """
        tokens, (cells, width) = len(keys_tc), placed_nc.shape
        k = self.split(torch.addmm(self.key_bias, keys_tc, self.key))
        bias = k @ self.query_bias + bias_t1
        absorbed = (k @ self.query).reshape(self.heads * tokens, width)
        scores = (absorbed @ placed_nc.T).reshape(self.heads, tokens, cells) + bias
        # The softmax over the few tokens is written out: its reductions then run along the many cells.
        weights = torch.exp(scores - scores.amax(1, keepdim=True))
        weights = (weights / weights.sum(1, keepdim=True)).reshape(self.heads * tokens, cells)
        rows = (self.split(values_tc @ self.value) @ self.out + self.constant).reshape(self.heads * tokens, width)
        return torch.addmm(image_nc, weights.T, rows)
