"""AdamW over groups of parameters that share a learning rate and weight decay, and the clipping of gradients."""

import re
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .recipes import Optimization

_BLOCK = re.compile(r"image_encoder\.trunk\.blocks\.(\d+)\.")


def relative_rate(name: str, depth: int, layer_decay: float) -> float:
    """The factor of layer-wise decay for a parameter of a model whose encoder has `depth` blocks.

    The last block has `layer_decay`, each one before it once more, the patch embedding most; the position
    embedding and everything behind the blocks 1 (as in SAM 2's training).
    """
    block = _BLOCK.search(name)
    if block:
        return layer_decay ** (depth - int(block.group(1)))
    return layer_decay ** (depth + 1) if "image_encoder.trunk.patch_embed." in name else 1.0


def make_optimizer(module: nn.Module, depth: int, recipe: Optimization) -> torch.optim.AdamW:
    """AdamW; biases, norms and embeddings of one row are not decayed.

    Every group has "full_rate", the learning rate that the factor of the schedule multiplies.
    """
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = recipe.encoder_rate if "image_encoder." in name else recipe.rate
        rate *= relative_rate(name, depth, recipe.layer_decay)
        decay = recipe.weight_decay if parameter.squeeze().dim() > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": p, "weight_decay": decay, "full_rate": rate} for (rate, decay), p in groups.items()],
        lr=recipe.rate,
        betas=recipe.betas,
    )


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Sets the learning rate of every group to the factor of the schedule times its full rate."""
    for group in optimizer.param_groups:
        group["lr"] = factor * group["full_rate"]


def clip_gradients(parameters: Iterable[Tensor], recipe: Optimization) -> float:
    """Clips in place; returns the norm before the last clipping, which may be infinite or not a number."""
    parameters = list(parameters)
    if recipe.clip_each is not None:
        for parameter in parameters:
            # A channel norm over few channels now and then gives one tensor a gradient thousands of times too
            # large; clipped only together with all others, it would wipe them out.
            nn.utils.clip_grad_norm_(parameter, recipe.clip_each)
    return float(nn.utils.clip_grad_norm_(parameters, recipe.clip))
