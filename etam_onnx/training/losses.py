"""What a predicted mask costs. Logits and targets are (B, K, h, w) and (B, 1, h, w); every result is (B, K).

The forms are those of SAM 2; their weights are in the recipe. Targets may be soft: the share of each cell that
the object covers.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def focal_loss(logits: Tensor, target: Tensor, alpha: float = 0.25) -> Tensor:
    """Cross-entropy times (probability - target)^2, pixel mean (Lin et al. 2017, gamma 2).

    Positive pixels weigh `alpha`, negative ones 1 - `alpha`.
    """
    target = target.expand_as(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    balance = alpha * target + (1 - alpha) * (1 - target)
    return (balance * entropy * (logits.sigmoid() - target).square()).flatten(2).mean(2)


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """1 - (2 overlap + 1) / (predicted + true + 1), with probabilities as soft areas in cells."""
    probability = logits.sigmoid()
    overlap = (probability * target).flatten(2).sum(2)
    areas = probability.flatten(2).sum(2) + target.flatten(2).sum(2)
    return 1 - (2 * overlap + 1) / (areas + 1)


def mask_loss(logits: Tensor, target: Tensor, focal: float = 20.0, dice: float = 1.0, alpha: float = 0.25) -> Tensor:
    """focal + dice with their weights, in float32 whatever the precision of the logits."""
    logits, target = logits.float(), target.float()
    return focal * focal_loss(logits, target, alpha) + dice * dice_loss(logits, target)


def overlap_of(logits: Tensor, target: Tensor) -> Tensor:
    """Intersection over union of logits > 0 with target > 0.5, no gradient; 1 where both are empty."""
    predicted, true = logits.detach() > 0, target > 0.5
    both = (predicted & true).flatten(2).sum(2).float()
    either = (predicted | true).flatten(2).sum(2).float()
    return torch.where(either > 0, both / either.clamp(min=1), torch.ones_like(either))


def presence_loss(logit: Tensor, present: Tensor) -> Tensor:
    """Binary cross-entropy of the presence logit (B, 1) against a boolean (B,); (B,)."""
    return F.binary_cross_entropy_with_logits(logit[:, 0].float(), present.float(), reduction="none")
