"""The graphs that write a memory, of `ort.memory_encoder` and `ort.memory_keys`, with one rewriting undone."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...model import EfficientTAM
from ...model.cross_attention import POOL
from ...model.efficienttam import MASK_BIAS, MASK_SCALE
from ...model.position import sine_tokens
from ..ort.gelu import gelu
from ..ort.memory_encoder import OrtMemoryEncoder, product
from ..ort.memory_keys import OrtMemoryKeys
from ..ort.normed_convolution import NormedConvolution
from ..ort.pooled_rotation import window_sums
from ..ort.projection import LinearMap
from ..ort.rotation import Rotation, rotary_table
from ..ort.signed_mask import GAIN
from ..portable.memory_encoder import STEEP, PortableFuserBlock
from .subject import Subject


class UnscaledMask(nn.Module):
    """Logits to 20 p - 10 by a sigmoid or a steep ramp."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, mask_logits: Tensor, binarize: Tensor) -> Tensor:
        x = F.interpolate(mask_logits, (self.size, self.size), mode="bilinear", align_corners=False)
        hard = binarize.reshape(1, 1, 1, 1)
        p = torch.clamp(x * STEEP, 0, 1) * hard + torch.sigmoid(x) * (1 - hard)
        return p * MASK_SCALE + MASK_BIAS


class SeparateProjections(OrtMemoryEncoder):
    """Rows of tokens; the scale of a block, its residual and the output projection one after another."""

    def __init__(self, model: EfficientTAM) -> None:
        super().__init__(model)
        blocks = model.memory_encoder.fuser.layers
        dtype = model.memory_encoder.out_proj.weight.dtype
        self.gammas = nn.ParameterList(block.gamma.detach().clone() for block in blocks)
        for index, block in enumerate(blocks):
            weight, bias = product(block.pwconv2)
            self.register_buffer(f"project_{index}", weight.to(dtype).contiguous())
            self.register_buffer(f"project_{index}_bias", bias.to(dtype))
        self.register_buffer("plain_out_bias", product(model.memory_encoder.out_proj)[1].to(dtype))

    def forward(self, features: Tensor, mask_logits: Tensor, binarize: Tensor) -> Tensor:
        mask = self.stages(self.signed(mask_logits, binarize))
        x = torch.addmm(torch.addmm(self.start_bias, features.squeeze(0), self.features), mask, self.mask)
        for index, (widened, gamma) in enumerate(zip(self.widened, self.gammas, strict=True)):
            weight, bias = getattr(self, f"project_{index}"), getattr(self, f"project_{index}_bias")
            x = x + gamma * torch.addmm(bias, widened(x), weight)
        return torch.addmm(self.plain_out_bias, x, self.out).unsqueeze(0)


class ChannelsFirst(nn.Module):
    """Pointwise layers as 1x1 convolutions on maps, norms over channels; the early stages as they are deployed."""

    def __init__(self, model: EfficientTAM) -> None:
        super().__init__()
        encoder = model.memory_encoder
        self.fast, self.grid = OrtMemoryEncoder(model), model.config.grid
        self.mask, self.features, self.out = (
            encoder.mask_downsampler.encoder[-1],
            encoder.pix_feat_proj,
            encoder.out_proj,
        )
        self.blocks = nn.ModuleList(PortableFuserBlock(block) for block in encoder.fuser.layers)

    def forward(self, features: Tensor, mask_logits: Tensor, binarize: Tensor) -> Tensor:
        stages = self.fast.stages
        mask = self.fast.signed(mask_logits, binarize)
        for stage in stages.early:
            mask = gelu(stage(mask))
        mask = self.mask(gelu(stages.last_norm(stages.last(mask))))
        x = self.features(features.transpose(1, 2).reshape(1, -1, self.grid, self.grid)) + mask
        for block in self.blocks:
            x = block(x)
        return self.out(x).flatten(2).transpose(1, 2)


def memory_encoder_without(model: EfficientTAM, what: str) -> nn.Module:
    """memory_encoder with one rewriting undone: ``signed mask`` or ``centred norms``."""
    encoder = OrtMemoryEncoder(model)
    layers = model.memory_encoder.mask_downsampler.encoder
    if what == "signed mask":
        encoder.signed = UnscaledMask(model.config.image_size)
        encoder.stages.early[0] = NormedConvolution(layers[0], layers[1])
        return encoder.eval()
    for index in range(len(encoder.stages.early)):
        convolution = copy.deepcopy(layers[3 * index]).requires_grad_(False)
        if index == 0:
            convolution.weight.mul_(GAIN)
        encoder.stages.early[index] = nn.Sequential(convolution, layers[3 * index + 1])
    return encoder.eval()


class KeysPooledLast(nn.Module):
    """memory_keys that projects and turns every token of the memory and averages windows of the result."""

    def __init__(self, subject: Subject) -> None:
        super().__init__()
        model, dtype, self.grid = subject.model, subject.dtype, subject.geometry.grid
        maps = [LinearMap.of(layer.cross_attn_image.k_proj) for layer in model.memory_attention.layers]
        position = sine_tokens(self.grid, model.config.memory_width, torch.zeros((), dtype=torch.float64))
        self.register_buffer("position", position.to(dtype))
        self.register_buffer("weight", torch.stack([m.weight.T for m in maps]).to(dtype).contiguous())
        self.register_buffer("bias", torch.stack([m.bias for m in maps])[:, None].to(dtype))
        self.rotate = Rotation(*(table.to(dtype) for table in rotary_table(self.grid, model.config.width)))
        # The constant of equation 6, if any, is that of the deployed graph.
        self.constant = OrtMemoryKeys(model, subject.geometry, subject.deployment).constant

    def forward(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        keys = self.rotate((memory + self.position) @ self.weight + self.bias)
        half, channels = self.grid // POOL, keys.shape[-1]
        upper, lower = keys.reshape(-1, POOL, half, POOL * channels).split(1, 1)
        left, right = (upper + lower).split(channels, 3)
        pooled = ((left + right) * (1 / POOL**2)).reshape(keys.shape[0], half * half, channels)
        if self.constant is not None:
            pooled = pooled + self.constant
        return window_sums(memory, self.grid)[0] * (1 / POOL**2), pooled
