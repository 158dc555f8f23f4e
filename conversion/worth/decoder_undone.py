"""The decoder of tracked frames of `ort.tracked_decoder` with one of its rewritings undone at a time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...model import EfficientTAM
from ..ort.projected_attention import ProjectedTokensReadImage
from ..ort.token_upscaling import in_place
from ..ort.tracked_decoder import ALTERNATIVES, ORDER, OrtTrackedDecoder
from ..ort.two_way_block import OrtTwoWayBlock, Prompt

Answers = tuple[Tensor, Tensor, Tensor]


class OpenDecoder(OrtTrackedDecoder):
    """`OrtTrackedDecoder` in parts, of which a subclass replaces one."""

    def begun_blocks(self, image: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens and image after the first block; `position` are the tokens as they begin."""
        prompt = Prompt(position, self.bias, self.image_position)
        return self.first.meet(self.begun, self.queries, image, image + self.image_start, prompt)

    def answers(self, tokens: Tensor) -> Answers:
        """Presence (1,), IoU (1, K) and channel weights (K, C / 8) of the alternatives."""
        return self.heads(tokens)

    def chosen_mask(self, weights: Tensor, best: Tensor, image: Tensor) -> Tensor:
        """The mask (1, 1, 4 g, 4 g) of the best alternative."""
        return in_place(torch.index_select(weights, 0, best) @ self.upscaling(image).T, self.grid)

    def forward(self, features: Tensor, position: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        prompt = Prompt(self.position, self.bias, self.image_position)
        begun = self.begun_blocks(features.squeeze(0), self.position if position is None else position)
        tokens, image = self.second(*begun, prompt, first=False)
        answers = 2 + len(ALTERNATIVES)
        tokens = tokens[:answers]
        queries = self.final.queries(tokens + self.position[:answers])
        tokens = self.final_norm(tokens + self.final.read(queries, image + self.image_position, image))
        presence, iou, weights = self.answers(tokens)
        best = iou.argmax(1)
        pointer = self.obj_ptr_proj(torch.index_select(tokens[2:], 0, best))
        return self.chosen_mask(weights, best, image), iou.amax(1, keepdim=True), pointer, presence


class ProjectedDecoder(OpenDecoder):
    """Every image cell is projected to keys, values and queries."""

    def __init__(self, model: EfficientTAM) -> None:
        super().__init__(model)
        transformer = model.sam_mask_decoder.transformer
        self.first, self.second = (OrtTwoWayBlock(block, many=True) for block in transformer.layers)
        self.final = ProjectedTokensReadImage(transformer.final_attn_token_to_image)
        self.register_buffer("no_mask", model.sam_prompt_encoder.no_mask().detach().reshape(1, -1))
        with torch.no_grad():
            self.register_buffer("queries", self.first.to_image.queries(self.begun + self.position))

    def begun_blocks(self, image: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        prompt = Prompt(position, self.bias, self.image_position)
        placed = image + self.image_start
        return self.first.meet(self.begun, self.queries, image + self.no_mask, placed, prompt)


class PromptedFirstBlock(OpenDecoder):
    """The first self-attention and its queries on tokens that are an input, as they are behind a prompt."""

    def begun_blocks(self, image: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        prompt = Prompt(position, self.bias, self.image_position)
        tokens = self.first.talk(position, prompt, first=True)
        queries = self.first.to_image.queries(tokens + position)
        return self.first.meet(tokens, queries, image, image + self.image_start, prompt)


class MapUpscaling(OpenDecoder):
    """Transposed convolutions on a map of channels."""

    def __init__(self, model: EfficientTAM) -> None:
        super().__init__(model)
        self.layers = model.sam_mask_decoder.output_upscaling

    def chosen_mask(self, weights: Tensor, best: Tensor, image: Tensor) -> Tensor:
        upscaled = self.layers(image.T.reshape(1, -1, self.grid, self.grid))
        mask = torch.index_select(weights, 0, best) @ upscaled.flatten(2)[0]
        return mask.reshape(1, 1, 4 * self.grid, 4 * self.grid)


class EveryMask(OpenDecoder):
    """All alternatives are drawn, and the best one is taken."""

    def chosen_mask(self, weights: Tensor, best: Tensor, image: Tensor) -> Tensor:
        return torch.index_select(in_place(weights @ self.upscaling(image).T, self.grid), 1, best)


class SeparateHeads(OpenDecoder):
    """Presence, IoU and the weights of each mask by networks of their own."""

    def __init__(self, model: EfficientTAM) -> None:
        super().__init__(model)
        decoder = model.sam_mask_decoder
        self.networks = nn.ModuleList([decoder.pred_obj_score_head, decoder.iou_prediction_head])
        self.networks.extend(decoder.output_hypernetworks_mlps[mask] for mask in ALTERNATIVES)

    def answers(self, tokens: Tensor) -> Answers:
        presence, iou, *weights = (net(tokens[i : i + 1]) for i, net in enumerate(self.networks))
        return presence[0], torch.sigmoid(iou)[:, ALTERNATIVES[0] :], torch.cat(weights)


def output_tokens(model: EfficientTAM) -> Tensor:
    """The tokens of a frame without prompt, in the order of the tracked decoder."""
    prompt = model.sam_prompt_encoder.padding_point(1)[0]
    return torch.cat((model.sam_mask_decoder.output_tokens()[list(ORDER)], prompt)).detach()
