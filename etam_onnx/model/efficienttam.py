"""EfficientTAM: the networks under the parameter names of the published checkpoints, and the verbs a tracker needs.

It keeps no state between frames and knows no memory rules: which memories to pass, with which temporal row, is the
business of whoever calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ModelConfig, config_named
from .image_encoder import ImageEncoder
from .layers import MLP
from .mask_decoder import MaskDecoder
from .memory_attention import MemoryAttention, cut_pointers
from .memory_encoder import MemoryEncoder
from .prompt_encoder import PromptEncoder

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
MASK_SCALE, MASK_BIAS = 20.0, -10.0
"""Masks enter the memory encoder, and mask prompts leave as logits, as 20 p - 10."""


class Decoded(NamedTuple):
    """Raw decoder results: see `DecoderOutput`; ``pointers`` (B, 4, C) is the object pointer of each mask token."""

    mask_logits: Tensor
    iou: Tensor
    pointers: Tensor
    presence: Tensor


class EfficientTAM(nn.Module):
    """One model.  S is the side of the square input in pixels, g = S / 16 the feature grid, C the model width.

    The methods accept any S whose grid is even, so a model may be trained at several sizes; `config.image_size` is the
    one it is exported at.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        width, memory_width = config.width, config.memory_width
        self.image_encoder = ImageEncoder(config)
        self.memory_attention = MemoryAttention(config)
        self.memory_encoder = MemoryEncoder(config)
        self.sam_prompt_encoder = PromptEncoder(config)
        self.sam_mask_decoder = MaskDecoder(config)
        self.obj_ptr_proj = MLP(width, width, width, width)
        self.mask_downsample = nn.Conv2d(1, 1, 4, 4)
        self.maskmem_tpos_enc = nn.Parameter(torch.zeros(config.recent_memories + 1, 1, 1, memory_width))
        self.no_mem_embed = nn.Parameter(torch.zeros(1, 1, width))
        self.no_mem_pos_enc = nn.Parameter(torch.zeros(1, 1, width))  # in every checkpoint, read by nothing
        self.no_obj_ptr = nn.Parameter(torch.zeros(1, width))
        embeddings = (self.maskmem_tpos_enc, self.no_mem_embed, self.no_obj_ptr, self.image_encoder.trunk.pos_embed)
        for embedding in embeddings:
            nn.init.trunc_normal_(embedding, std=0.02)

    def encode_image(self, image: Tensor) -> Tensor:
        """RGB in 0..255 as (B, 3, S, S) to raw features (B, C, g, g)."""
        mean, std = (image.new_tensor(v).view(3, 1, 1) * 255 for v in (IMAGE_MEAN, IMAGE_STD))
        return self.image_encoder((image - mean) / std)

    def without_memory(self, features: Tensor) -> Tensor:
        """What the decoder takes instead of fused features on a first prompted frame and on single images."""
        return features + self.no_mem_embed.view(1, -1, 1, 1)

    def attend(self, features: Tensor, memories: Sequence[Tensor], rows: Sequence[int], pointers: Tensor) -> Tensor:
        """Fuse raw features with memories.

        Args:
            features: (B, C, g, g).
            memories: M maps of (B, g * g, memory width), from `encode_memory`.
            rows: the temporal row of each: the last row for prompted frames, 0 for the newest recent frame and so on.
            pointers: (B, P, C) object pointers; P may be 0.

        Returns:
            Fused features (B, C, g, g).
        """
        temporal = self.maskmem_tpos_enc[list(rows), 0, 0]
        cut = cut_pointers(pointers, self.config.memory_width)
        return self.memory_attention(features, torch.stack(list(memories), 1), temporal, cut)

    def decode(
        self,
        features: Tensor,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        mask_input: Tensor | None = None,
    ) -> Decoded:
        """Decode fused features, optionally prompted.

        Args:
            features: (B, C, g, g).
            points: (B, T, 2) pixels (x, y) of the square input.
            labels: (B, T): 1 positive, 0 negative, 2 and 3 box corners, -1 not a point.
            mask_input: (B, 1, S/4, S/4) logits of an earlier mask.
        """
        batch, _, grid, _ = features.shape
        encoder = self.sam_prompt_encoder
        if points is None or labels is None:
            points, labels = features.new_zeros(batch, 1, 2), features.new_full((batch, 1), -1.0)
        size = grid * self.config.stride
        sparse = torch.cat((encoder.points(points, labels, size), encoder.padding_point(batch)), 1)
        dense = encoder.no_mask() if mask_input is None else encoder.mask(mask_input)
        out = self.sam_mask_decoder(features, encoder.pe_layer.dense(grid), sparse, dense)
        return Decoded(out.mask_logits, out.iou, self.obj_ptr_proj(out.tokens), out.presence)

    def prompt_with_mask(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Take a mask as the answer of its frame.

        Args:
            features: raw features (B, C, g, g).
            mask: (B, 1, S, S), 0 or 1.

        Returns:
            Low-resolution logits (B, 1, S/4, S/4) of about +-10, object pointer (B, C) and presence logit (B, 1),
            +10 for a mask with any pixel and -10 for an empty one.
        """
        out = self.decode(features, mask_input=self.mask_downsample(mask))
        visible = mask.flatten(1).amax(1, keepdim=True).gt(0).to(mask)
        seen = visible * out.presence.gt(0).to(mask)
        pointer = seen * out.pointers[:, 0] + (1 - seen) * self.no_obj_ptr
        size = mask.shape[-1] // 4
        low = F.interpolate(
            mask * MASK_SCALE + MASK_BIAS, (size, size), mode="bilinear", align_corners=False, antialias=True
        )
        return low, pointer, visible * MASK_SCALE + MASK_BIAS

    def encode_memory(self, features: Tensor, mask_logits: Tensor, binarize: bool) -> Tensor:
        """Write the memory of a frame.

        Args:
            features: raw features (B, C, g, g).
            mask_logits: (B, 1, S/4, S/4); upsampled bilinearly to S.
            binarize: threshold at 0 (prompted frames) instead of the sigmoid (tracked frames).

        Returns:
            Memory tokens (B, g * g, memory width), row-major.
        """
        size = features.shape[-1] * self.config.stride
        mask = F.interpolate(mask_logits, (size, size), mode="bilinear", align_corners=False)
        mask = mask.gt(0).to(mask) if binarize else mask.sigmoid()
        return self.memory_encoder(features, mask * MASK_SCALE + MASK_BIAS).flatten(2).transpose(1, 2)


def build_model(name: str, *, image_size: int | None = None) -> EfficientTAM:
    """The configuration `name` with randomly initialised weights."""
    return EfficientTAM(config_named(name, image_size=image_size))
