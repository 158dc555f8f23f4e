"""What a predicted mask costs. Logits and targets are (B, K, h, w) and (B, 1, h, w); every result is (B, K).

The weights follow SAM 2: focal 20, dice 1, predicted IoU (L1) 1, presence (binary cross-entropy) 1.
Targets are soft: the share of each low-resolution cell that the object covers.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

FOCAL_WEIGHT = 20.0
DICE_WEIGHT = 1.0


def focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Half of cross-entropy times (probability - target)^2, pixel mean (Lin et al. 2017, soft targets)."""
    target = target.expand_as(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return 0.5 * (entropy * (logits.sigmoid() - target).square()).flatten(2).mean(2)


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """1 - (2 overlap + 1) / (predicted + true + 1), with probabilities as soft areas in cells."""
    probability = logits.sigmoid()
    overlap = (probability * target).flatten(2).sum(2)
    areas = probability.flatten(2).sum(2) + target.flatten(2).sum(2)
    return 1 - (2 * overlap + 1) / (areas + 1)


def mask_loss(logits: Tensor, target: Tensor) -> Tensor:
    """20 focal + dice, in float32 whatever the precision of the logits."""
    logits, target = logits.float(), target.float()
    return FOCAL_WEIGHT * focal_loss(logits, target) + DICE_WEIGHT * dice_loss(logits, target)


def overlap_of(logits: Tensor, target: Tensor) -> Tensor:
    """Intersection over union of logits > 0 with target > 0.5, no gradient; 1 where both are empty."""
    predicted, true = logits.detach() > 0, target > 0.5
    both = (predicted & true).flatten(2).sum(2).float()
    either = (predicted | true).flatten(2).sum(2).float()
    return torch.where(either > 0, both / either.clamp(min=1), torch.ones_like(either))


def presence_loss(logit: Tensor, present: Tensor) -> Tensor:
    """Binary cross-entropy of the presence logit (B, 1) against a boolean (B,); (B,)."""
    return F.binary_cross_entropy_with_logits(logit[:, 0].float(), present.float(), reduction="none")


def mean_where(values: Tensor, where: Tensor) -> Tensor:
    """Mean of `values` (B,) over the samples where the boolean `where` (B,) holds; 0 if there is none."""
    chosen = where.to(values.dtype)
    return (values * chosen).sum() / chosen.sum().clamp(min=1)
