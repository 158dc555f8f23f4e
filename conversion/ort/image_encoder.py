"""The image encoder on tokens alone: ordered by window, without biases on keys and values, without a map.

All products are rows of tokens times a constant matrix; what data is moved, is moved as whole rows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...model.efficienttam import EfficientTAM
from ...model.image_encoder import Block, NeckLevel
from .attention_biases import without_biases
from .gelu import gelu
from .norm_folding import fold_norm
from .operators import attend
from .pad_token import attend_with_scores, pad_scores
from .patch_rows import PatchRows
from .token_convolution import TokenConvolution
from .window_order import WindowGroup, window_order


class WindowAttention(nn.Module):
    """Attention inside the windows of one group; padded cells are one weighted token."""

    def __init__(self, group: WindowGroup, heads: int, pad_key: Tensor, pad_value: Tensor) -> None:
        super().__init__()
        self.group, self.heads = group, heads
        if group.padding:
            shape = (group.windows, 1, len(pad_key))
            self.register_buffer("pad_key", pad_key.expand(shape).contiguous())
            self.register_buffer("pad_value", pad_value.expand(shape).contiguous())
            self.register_buffer("scores", pad_scores(group.tokens, group.padding).to(pad_key.dtype))

    def forward(self, q_nc: Tensor, k_nc: Tensor, v_nc: Tensor) -> Tensor:
        group, width = self.group, q_nc.shape[-1]
        q, k, v = (
            (x if group.stop - group.start == len(x) else x[group.start : group.stop]).reshape(
                group.windows, group.tokens, width
            )
            for x in (q_nc, k_nc, v_nc)
        )
        if not group.padding:
            out = attend(q, k, v, self.heads)
        else:
            k, v = torch.cat((k, self.pad_key), 1), torch.cat((v, self.pad_value), 1)
            out = attend_with_scores(q, k, v, self.scores, self.heads)
        return out.reshape(group.windows * group.tokens, width)


class TokenBlock(nn.Module):
    """A transformer block on (N, C) tokens in the order of `groups`; one group without padding attends globally."""

    def __init__(self, block: Block, groups: tuple[WindowGroup, ...]) -> None:
        super().__init__()
        dtype = block.attn.proj.weight.dtype
        parts = without_biases(block.norm1, block.attn.qkv, block.attn.proj)
        for name, value in parts._asdict().items():
            if not name.startswith("pad"):
                self.register_buffer(name, value.to(dtype))
        pads = (parts.pad_key.to(dtype), parts.pad_value.to(dtype))
        self.groups = nn.ModuleList(WindowAttention(group, block.attn.heads, *pads) for group in groups)
        first, second = block.mlp.layers
        widened = fold_norm(block.norm2, first.weight, first.bias)
        self.register_buffer("widen", widened.weight.to(dtype))
        self.register_buffer("widen_bias", (widened.shift + widened.bias).to(dtype))
        self.register_buffer("narrow", second.weight.detach().T.contiguous())
        self.register_buffer("narrow_bias", second.bias.detach().clone())
        self.eps = (block.norm1.eps, block.norm2.eps)

    def forward(self, x_nc: Tensor) -> Tensor:
        width = x_nc.shape[-1:]
        y = F.layer_norm(x_nc, width, eps=self.eps[0])
        q, k, v = torch.addmm(self.query_bias, y, self.query), y @ self.key, y @ self.value
        parts = [group(q, k, v) for group in self.groups]
        mixed = parts[0] if len(parts) == 1 else torch.cat(parts)
        x_nc = x_nc + torch.addmm(self.out_bias, mixed, self.out)
        y = F.layer_norm(x_nc, width, eps=self.eps[1])
        y = gelu(torch.addmm(self.widen_bias, y, self.widen))
        return x_nc + torch.addmm(self.narrow_bias, y, self.narrow)


class TokenNeck(nn.Module):
    """Tokens (N, C) in the given order to row-major features (N, width)."""

    def __init__(self, level: NeckLevel, grid: int, order: Tensor) -> None:
        super().__init__()
        self.register_buffer("first", level.conv_1x1.weight.detach().flatten(1).T.contiguous())
        self.second = TokenConvolution(level.conv_3x3, grid, order)
        self.norms = nn.ModuleList((level.norm_0, level.norm_1))

    def forward(self, x_nc: Tensor) -> Tensor:
        first, second = self.norms
        y = F.layer_norm(x_nc @ self.first, first.weight.shape, first.weight, first.bias, first.eps)
        return F.layer_norm(self.second(y), second.weight.shape, second.weight, second.bias, second.eps)


class OrtImageEncoder(nn.Module):
    """RGB 0..255 (1, 3, S, S) to raw features as row-major tokens (1, N, width)."""

    def __init__(self, model: EfficientTAM) -> None:
        super().__init__()
        grid, window = model.config.grid, model.config.vit_window
        encoder = model.image_encoder
        order, groups = window_order(grid, window)
        everything = (WindowGroup(0, 1, grid * grid, 0),)
        self.patches = PatchRows(encoder.trunk, grid, order)
        self.blocks = nn.ModuleList(
            TokenBlock(block, groups if block.window else everything) for block in encoder.trunk.blocks
        )
        self.neck = TokenNeck(encoder.neck.convs[0], grid, order)

    def forward(self, image: Tensor) -> Tensor:
        x = self.patches(image)
        for block in self.blocks:
            x = block(x)
        return self.neck(x).unsqueeze(0)
