"""The mask decoder: a two-way transformer between prompt tokens and the image, and the heads behind it."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ModelConfig
from .layers import MLP, ChannelNorm

MASKS = 4
"""Mask tokens: token 0 is the single mask, tokens 1 to 3 the alternatives for an ambiguous prompt."""


class TokenAttention(nn.Module):
    """Multi-head attention between two token sets at an inner width."""

    def __init__(self, width: int, inner: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, inner) for _ in range(3))
        self.out_proj = nn.Linear(inner, width)

    def split(self, x_bnc: Tensor) -> Tensor:
        return x_bnc.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = self.split(self.q_proj(q)), self.split(self.k_proj(k)), self.split(self.v_proj(v))
        return self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class TwoWayBlock(nn.Module):
    """Token self-attention, token to image, MLP, image to token; post-norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, heads = config.width, config.decoder_heads
        self.self_attn = TokenAttention(width, width, heads)
        self.cross_attn_token_to_image = TokenAttention(width, width // 2, heads)
        self.cross_attn_image_to_token = TokenAttention(width, width // 2, heads)
        self.mlp = MLP(width, config.decoder_mlp_width, width)
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(width) for _ in range(4))

    def forward(
        self, tokens: Tensor, image: Tensor, position: Tensor, image_position: Tensor, first: bool
    ) -> tuple[Tensor, Tensor]:
        if first:  # replaces the tokens: no residual and no position
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            q = tokens + position
            tokens = tokens + self.self_attn(q, q, tokens)
        tokens = self.norm1(tokens)
        placed = image + image_position
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + position, placed, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(image + self.cross_attn_image_to_token(placed, tokens + position, tokens))
        return tokens, image


class TwoWayTransformer(nn.Module):
    """Two blocks and a last attention from tokens to the image."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayBlock(config) for _ in range(2))
        self.final_attn_token_to_image = TokenAttention(config.width, config.width // 2, config.decoder_heads)
        self.norm_final_attn = nn.LayerNorm(config.width)

    def forward(self, tokens: Tensor, image: Tensor, image_position: Tensor) -> tuple[Tensor, Tensor]:
        position = tokens
        for i, layer in enumerate(self.layers):
            tokens, image = layer(tokens, image, position, image_position, first=i == 0)
        out = self.final_attn_token_to_image(tokens + position, image + image_position, image)
        return self.norm_final_attn(tokens + out), image


class DecoderOutput(NamedTuple):
    """What the decoder says, before any choice or gating.

    ``mask_logits`` (B, 4, S/4, S/4); ``iou`` (B, 4), predicted IoU in 0..1; ``tokens`` (B, 4, C), the mask tokens
    that object pointers are made from; ``presence`` (B, 1), logit of the object being visible.
    """

    mask_logits: Tensor
    iou: Tensor
    tokens: Tensor
    presence: Tensor


class MaskDecoder(nn.Module):
    """Fused features and prompt embeddings to masks, predicted IoU and presence."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.width
        self.transformer = TwoWayTransformer(config)
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(MASKS, width)
        self.obj_score_token = nn.Embedding(1, width)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(width, width // 4, 2, 2),
            ChannelNorm(width // 4),
            nn.GELU(),
            nn.ConvTranspose2d(width // 4, width // 8, 2, 2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(MLP(width, width, width, width // 8) for _ in range(MASKS))
        self.iou_prediction_head = MLP(width, width, width, MASKS)
        self.pred_obj_score_head = MLP(width, width, width, 1)

    def output_tokens(self) -> Tensor:
        """Presence, IoU and mask tokens as (6, C)."""
        return torch.cat((self.obj_score_token.weight, self.iou_token.weight, self.mask_tokens.weight))

    def mask_weights(self, mask_tokens: Tensor) -> Tensor:
        """The channel weights (B, 4, C / 8) that turn upscaled features into masks."""
        return torch.stack([mlp(mask_tokens[:, i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], 1)

    def forward(self, features: Tensor, position: Tensor, sparse: Tensor, dense: Tensor) -> DecoderOutput:
        """Decode (B, C, g, g) features with prompt tokens (B, T, C) and a dense prompt that broadcasts to the map."""
        b, _, grid, _ = features.shape
        tokens = torch.cat((self.output_tokens().expand(b, -1, -1), sparse), 1)
        image = (features + dense).flatten(2).transpose(1, 2)
        tokens, image = self.transformer(tokens, image, position.flatten(2).transpose(1, 2))
        mask_tokens = tokens[:, 2 : 2 + MASKS]
        upscaled = self.output_upscaling(image.transpose(1, 2).unflatten(2, (grid, grid)))
        masks = (self.mask_weights(mask_tokens) @ upscaled.flatten(2)).unflatten(2, upscaled.shape[-2:])
        return DecoderOutput(
            mask_logits=masks,
            iou=self.iou_prediction_head(tokens[:, 1]).sigmoid(),
            tokens=mask_tokens,
            presence=self.pred_obj_score_head(tokens[:, 0]),
        )
