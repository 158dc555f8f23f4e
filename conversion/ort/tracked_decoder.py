"""The decoder of frames without a prompt: what depends on the prompt alone is computed at export.

Its prompt is two padding points, equal in value and position: one token with the weight of two.  The tokens after the
first block's self-attention and their queries to the image are constants, and so is the dense prompt of no mask.
Of the last attention and of the masks only what the best alternative needs is computed.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ...model.efficienttam import EfficientTAM
from ...model.mask_decoder import MASKS
from .absorbed_attention import TokensReadImage
from .decoder_heads import DecoderHeads
from .token_upscaling import TokenUpscaling, in_place
from .two_way_block import OrtTwoWayBlock, Prompt

ALTERNATIVES = tuple(range(1, MASKS))
PADDING_POINTS = 2
ORDER = (0, 1, *(2 + mask for mask in ALTERNATIVES), 2)
"""Presence, IoU, the alternatives, and last the token of the single mask, which only takes part."""


class OrtTrackedDecoder(nn.Module):
    """Fused features (1, N, C) to the alternative of the highest predicted IoU (the first of equal ones).

    Returns mask logits (1, 1, 4 g, 4 g), predicted IoU (1, 1), object pointer (1, C) and presence (1,).
    """

    def __init__(self, model: EfficientTAM) -> None:
        super().__init__()
        encoder, decoder = model.sam_prompt_encoder, model.sam_mask_decoder
        transformer = decoder.transformer
        self.grid = model.config.grid
        no_mask = encoder.no_mask().detach().flatten()
        image_position = encoder.pe_layer.dense(self.grid).detach()[0].flatten(1).T.contiguous()
        tokens = torch.cat((decoder.output_tokens()[list(ORDER)], encoder.padding_point(1)[0])).detach()
        multiplicity = torch.ones(len(tokens), 1, dtype=torch.float64)
        multiplicity[-1] = PADDING_POINTS
        self.first = OrtTwoWayBlock(transformer.layers[0], no_mask)
        self.second = OrtTwoWayBlock(transformer.layers[1])
        self.final = TokensReadImage(transformer.final_attn_token_to_image)
        self.final_norm = transformer.norm_final_attn
        self.upscaling = TokenUpscaling(decoder)
        self.heads = DecoderHeads(decoder, ALTERNATIVES)
        self.obj_ptr_proj = model.obj_ptr_proj

        start = OrtTwoWayBlock(copy.deepcopy(transformer.layers[0]).double())
        position = tokens.double()
        prompt = Prompt(position, multiplicity.log(), image_position.double())
        with torch.no_grad():
            begun = start.talk(position, prompt, first=True)
            queries = start.to_image.queries(begun + position)
        for name, value in (
            ("position", position),
            ("bias", multiplicity.log()),
            ("image_position", image_position),
            ("image_start", image_position.double() + no_mask),
            ("begun", begun),
            ("queries", queries),
        ):
            self.register_buffer(name, value.to(tokens.dtype).contiguous())

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        image = features.squeeze(0)
        prompt = Prompt(self.position, self.bias, self.image_position)
        tokens, image = self.first.meet(self.begun, self.queries, image, image + self.image_start, prompt)
        tokens, image = self.second(tokens, image, prompt, first=False)
        answers = 2 + len(ALTERNATIVES)
        tokens = tokens[:answers]
        queries = self.final.queries(tokens + self.position[:answers])
        tokens = self.final_norm(tokens + self.final.read(queries, image + self.image_position, image))

        presence, iou, weights = self.heads(tokens)
        best = iou.argmax(1)
        mask = torch.index_select(weights, 0, best) @ self.upscaling(image).T
        pointer = self.obj_ptr_proj(torch.index_select(tokens[2:], 0, best))
        return in_place(mask, self.grid), iou.amax(1, keepdim=True), pointer, presence
