"""The mask decoder with a fixed number of prompt slots, unused ones masked; prompt encoder included."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ...graphs.contract import LABELS
from ...model.efficienttam import EfficientTAM
from ...model.mask_decoder import MASKS, TokenAttention, TwoWayBlock
from .memory_attention import MASKED


class PortableAttention(nn.Module):
    """Multi-head attention between token sets, with a bias on the keys."""

    def __init__(self, attn: TokenAttention) -> None:
        super().__init__()
        self.attn = attn
        self.inner = attn.q_proj.out_features
        self.scale = (self.inner // attn.heads) ** -0.5

    def heads_first(self, x_bnc: Tensor) -> Tensor:
        _, n, c = x_bnc.shape
        return x_bnc.reshape(1, n, self.attn.heads, c // self.attn.heads).transpose(1, 2)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        n = q.shape[1]
        attn = self.attn
        q = self.heads_first(attn.q_proj(q)) * self.scale
        scores = q @ self.heads_first(attn.k_proj(k)).transpose(2, 3)
        if bias is not None:
            scores = scores + bias
        out = torch.softmax(scores, -1) @ self.heads_first(attn.v_proj(v))
        return attn.out_proj(out.transpose(1, 2).reshape(1, n, self.inner))


class PortableTwoWayBlock(nn.Module):
    """One block of the two-way transformer; `first` replaces the tokens by their self-attention."""

    def __init__(self, block: TwoWayBlock, first: bool) -> None:
        super().__init__()
        self.block, self.first = block, first
        self.self_attn = PortableAttention(block.self_attn)
        self.to_image = PortableAttention(block.cross_attn_token_to_image)
        self.to_tokens = PortableAttention(block.cross_attn_image_to_token)

    def forward(
        self, tokens: Tensor, image: Tensor, position: Tensor, image_position: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        block = self.block
        if self.first:
            tokens = self.self_attn(tokens, tokens, tokens, bias)
        else:
            q = tokens + position
            tokens = tokens + self.self_attn(q, q, tokens, bias)
        tokens = block.norm1(tokens)
        placed = image + image_position
        tokens = block.norm2(tokens + self.to_image(tokens + position, placed, image))
        tokens = block.norm3(tokens + block.mlp(tokens))
        image = block.norm4(image + self.to_tokens(placed, tokens + position, tokens, bias))
        return tokens, image


class PortableMaskDecoder(nn.Module):
    """Features and prompt slots to four masks, predicted IoU, pointers and presence."""

    def __init__(self, model: EfficientTAM) -> None:
        super().__init__()
        config, encoder, decoder = model.config, model.sam_prompt_encoder, model.sam_mask_decoder
        self.config = config
        gauss = encoder.pe_layer.positional_encoding_gaussian_matrix.detach()
        self.register_buffer("frequencies", gauss * (2 * math.pi))
        self.register_buffer("labels", encoder.label_table().detach())
        self.register_buffer("is_real", torch.tensor([[float(label >= 0)] for label in LABELS]))
        self.register_buffer("ones", torch.ones(len(LABELS), 1))
        self.register_buffer("output_tokens", decoder.output_tokens().detach()[None])
        self.register_buffer("output_bias", torch.zeros(1, 2 + MASKS, 1))
        dense = encoder.pe_layer.dense(config.grid).detach()
        self.register_buffer("image_position", dense.flatten(2).transpose(1, 2).contiguous())
        self.register_buffer("no_mask", encoder.no_mask().detach())
        self.mask_downscaling = encoder.mask_downscaling
        self.blocks = nn.ModuleList(
            PortableTwoWayBlock(block, first=i == 0) for i, block in enumerate(decoder.transformer.layers)
        )
        self.final = PortableAttention(decoder.transformer.final_attn_token_to_image)
        self.final_norm = decoder.transformer.norm_final_attn
        self.decoder = decoder
        self.obj_ptr_proj = model.obj_ptr_proj

    def forward(
        self, features: Tensor, points: Tensor, point_label: Tensor, mask_input: Tensor, mask_used: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        config, decoder = self.config, self.decoder
        width, grid = config.width, config.grid
        angle = ((points + 0.5) * (2 / config.image_size) - 1) @ self.frequencies
        place = torch.cat((torch.sin(angle), torch.cos(angle)), -1)
        prompt = place * (point_label @ self.is_real) + point_label @ self.labels
        tokens = position = torch.cat((self.output_tokens, prompt), 1)
        unused = (1 - point_label @ self.ones) * MASKED
        bias = torch.cat((self.output_bias, unused), 1).reshape(1, 1, 1, tokens.shape[1])

        gate = mask_used.reshape(1, 1, 1, 1)
        dense = self.mask_downscaling(mask_input) * gate + self.no_mask * (1 - gate)
        image = (features + dense).flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens, image = block(tokens, image, position, self.image_position, bias)
        tokens = self.final_norm(tokens + self.final(tokens + position, image + self.image_position, image))

        mask_tokens = tokens[:, 2 : 2 + MASKS]
        upscaled = decoder.output_upscaling(image.transpose(1, 2).reshape(1, width, grid, grid))
        side = 4 * grid
        rows = upscaled.reshape(width // 8, side, side).transpose(0, 1)  # (h, C / 8, w): a product per row
        weights = torch.cat(
            [mlp(tokens[:, 2 + i : 3 + i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)], 1
        )
        masks = (weights @ rows).transpose(0, 1).reshape(1, MASKS, side, side)
        iou = torch.sigmoid(decoder.iou_prediction_head(tokens[:, 1:2])).reshape(1, MASKS)
        pointers = self.obj_ptr_proj(mask_tokens.reshape(MASKS, width))
        return masks, iou, pointers, decoder.pred_obj_score_head(tokens[:, 0:1]).reshape(1)
