"""The decoder of prompted frames on rows of tokens, prompt encoder included; unused prompt slots are masked."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ...graphs.contract import LABELS
from ...model.efficienttam import EfficientTAM
from ...model.mask_decoder import MASKS
from ..portable.memory_attention import MASKED
from .absorbed_attention import TokensReadImage
from .decoder_heads import DecoderHeads
from .gelu import gelu
from .normed_convolution import NormedConvolution
from .token_upscaling import TokenUpscaling, in_place
from .two_way_block import OrtTwoWayBlock, Prompt


class PromptTokens(nn.Module):
    """Points in the slots of the contract as tokens (P, C) and as what their scores get, (P, 1)."""

    def __init__(self, model: EfficientTAM) -> None:
        super().__init__()
        encoder = model.sam_prompt_encoder
        gauss = encoder.pe_layer.positional_encoding_gaussian_matrix.detach()
        self.register_buffer("frequencies", gauss * (2 * math.pi))
        self.register_buffer("labels", encoder.label_table().detach())
        self.register_buffer("is_real", torch.tensor([[float(label >= 0)] for label in LABELS], dtype=gauss.dtype))
        self.step = 2 / model.config.image_size

    def forward(self, points: Tensor, point_label: Tensor) -> tuple[Tensor, Tensor]:
        xy, label = points.squeeze(0), point_label.squeeze(0)
        angle = ((xy + 0.5) * self.step - 1) @ self.frequencies
        place = torch.cat((torch.sin(angle), torch.cos(angle)), -1)
        unused = (1 - label.sum(1, keepdim=True)) * MASKED
        return place * (label @ self.is_real) + label @ self.labels, unused


class MaskTokens(nn.Module):
    """Mask logits (1, 1, 4 g, 4 g) as cells (N, C)."""

    def __init__(self, model: EfficientTAM) -> None:
        super().__init__()
        layers = model.sam_prompt_encoder.mask_downscaling
        self.stages = nn.ModuleList(NormedConvolution(layers[i], layers[i + 1]) for i in (0, 3))
        last = layers[-1]
        self.register_buffer("weight", last.weight.detach().flatten(1).T.contiguous())
        self.register_buffer("bias", last.bias.detach().clone())

    def forward(self, mask_b1hw: Tensor) -> Tensor:
        for stage in self.stages:
            mask_b1hw = gelu(stage(mask_b1hw))
        return torch.addmm(self.bias, mask_b1hw[0].flatten(1).T, self.weight)


class OrtMaskDecoder(nn.Module):
    """Features and prompt slots to four masks, predicted IoU, pointers and presence; ports as in the contract."""

    def __init__(self, model: EfficientTAM) -> None:
        super().__init__()
        encoder, decoder = model.sam_prompt_encoder, model.sam_mask_decoder
        transformer = decoder.transformer
        self.grid = model.config.grid
        self.points, self.mask = PromptTokens(model), MaskTokens(model)
        self.register_buffer("output_tokens", decoder.output_tokens().detach())
        self.register_buffer("output_bias", torch.zeros(2 + MASKS, 1, dtype=self.output_tokens.dtype))
        position = encoder.pe_layer.dense(self.grid).detach()[0].flatten(1).T
        self.register_buffer("image_position", position.contiguous())
        self.register_buffer("no_mask", encoder.no_mask().detach().reshape(1, -1))
        self.register_buffer("no_memory", model.no_mem_embed.detach().reshape(1, -1))
        self.blocks = nn.ModuleList(OrtTwoWayBlock(block, many=True) for block in transformer.layers)
        self.final = TokensReadImage(transformer.final_attn_token_to_image)
        self.final_norm = transformer.norm_final_attn
        self.heads = DecoderHeads(decoder)
        self.upscaling = TokenUpscaling(decoder)
        self.obj_ptr_proj = model.obj_ptr_proj

    def forward(
        self,
        features: Tensor,
        without_memory: Tensor,
        points: Tensor,
        point_label: Tensor,
        mask_input: Tensor,
        mask_used: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        prompt_tokens, unused = self.points(points, point_label)
        position = torch.cat((self.output_tokens, prompt_tokens))
        prompt = Prompt(position, torch.cat((self.output_bias, unused)), self.image_position)
        same = self.no_mask * (1 - mask_used) + self.no_memory * without_memory
        image = features.squeeze(0) + (self.mask(mask_input) * mask_used + same)
        tokens = position
        for index, block in enumerate(self.blocks):
            tokens, image = block(tokens, image, prompt, first=index == 0)

        tokens = tokens[: 2 + MASKS]  # nothing reads the prompt tokens any more
        queries = self.final.queries(tokens + self.output_tokens)
        tokens = self.final_norm(tokens + self.final.read(queries, image + self.image_position, image))
        presence, iou, weights = self.heads(tokens)
        masks = weights @ self.upscaling(image).T
        return in_place(masks, self.grid), iou, self.obj_ptr_proj(tokens[2:]), presence
