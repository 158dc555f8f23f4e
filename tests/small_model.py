"""A model of every part at a size that exports in seconds; its windows and grid need padding."""

from __future__ import annotations

import torch

from etam_onnx.config import CrossAttention, ModelConfig
from etam_onnx.model import EfficientTAM

CARD = {"licence": "Apache-2.0", "author": "somebody", "version": "1.2"}
"""Of the packages of the model."""


def small_config(cross_attention: CrossAttention = "pooled_score_bias") -> ModelConfig:
    """96 pixels, 6x6 features, windows of 4."""
    return ModelConfig(
        name="small-test-model",
        image_size=96,
        cross_attention=cross_attention,
        vit_width=32,
        vit_depth=2,
        vit_heads=2,
        vit_global_blocks=(1,),
        vit_window=4,
        width=64,
        memory_width=16,
        memory_layers=2,
        memory_mlp_width=64,
        decoder_mlp_width=64,
        fuser_mlp_width=64,
    )


def small_model(cross_attention: CrossAttention = "pooled_score_bias", seed: int = 0) -> EfficientTAM:
    """Random weights from a seed, strong enough that every branch carries signal, and objects that are visible."""
    torch.manual_seed(seed)
    model = EfficientTAM(small_config(cross_attention)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "proj" not in name:
                parameter.mul_(1.5)
        model.maskmem_tpos_enc.normal_(0, 0.3)
        model.no_mem_embed.normal_(0, 0.3)
        model.no_obj_ptr.normal_(0, 0.5)
        model.image_encoder.trunk.pos_embed.normal_(0, 0.3)
        model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(2.0)
    return model


def varied(model: EfficientTAM) -> EfficientTAM:
    """A model whose norms, scales and biases are none of 0 and 1, as they are before training."""
    torch.manual_seed(1)
    for parameter in model.requires_grad_(False).parameters():
        if parameter.ndim == 1:
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model
