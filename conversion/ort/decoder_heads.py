"""The heads of the decoder as one batch: presence, predicted IoU and the masks' weights are the same three layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...model.mask_decoder import MASKS, MaskDecoder


class DecoderHeads(nn.Module):
    """Tokens of presence, IoU and K masks, (2 + K, C), to presence (1,), IoU (1, K) and channel weights (K, C / 8).

    masks: which of the four mask tokens these are.
    """

    def __init__(self, decoder: MaskDecoder, masks: Sequence[int] = range(MASKS)) -> None:
        super().__init__()
        heads = [decoder.pred_obj_score_head, decoder.iou_prediction_head]
        heads += [decoder.output_hypernetworks_mlps[mask] for mask in masks]
        self.masks = len(masks)
        self.channels = decoder.output_hypernetworks_mlps[0].layers[-1].out_features
        for index in range(3):
            layers = [head.layers[index] for head in heads]
            weights = [layer.weight.detach() for layer in layers]
            biases = [layer.bias.detach() for layer in layers]
            if index == 2:
                weights[1], biases[1] = weights[1][list(masks)], biases[1][list(masks)]
                widest = max(len(bias) for bias in biases)
                weights = [F.pad(weight, (0, 0, 0, widest - len(weight))) for weight in weights]
                biases = [F.pad(bias, (0, widest - len(bias))) for bias in biases]
            self.register_buffer(f"weight_{index}", torch.stack(weights).transpose(1, 2).contiguous())
            self.register_buffer(f"bias_{index}", torch.stack(biases).unsqueeze(1))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = tokens.unsqueeze(1)
        x = torch.relu(x @ self.weight_0 + self.bias_0)
        x = torch.relu(x @ self.weight_1 + self.bias_1)
        x = (x @ self.weight_2 + self.bias_2).squeeze(1)
        return x[0, :1], torch.sigmoid(x[1:2, : self.masks]), x[2:, : self.channels]
