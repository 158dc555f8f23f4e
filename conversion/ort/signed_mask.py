"""Mask logits to the signed mask that the memory encoder reads, -1 outside to 1 inside.

20 sigmoid(x) - 10 = 10 tanh(x / 2), so the mask needs neither factor nor shift of its own, and the convolution's zero
padding is the 0 it always was.  The threshold is the same tanh of a slope so steep that it only says which side of 0
a logit is on: as a power of 2 it can be applied before the upsampling without changing a bit of what is compared.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...model.efficienttam import MASK_BIAS, MASK_SCALE

GAIN = MASK_SCALE / 2
"""What the network multiplies the signed mask by."""
assert -GAIN == MASK_BIAS, "the mask of probability 1/2 has to be 0, as the padding is"
SOFT, STEEP = 0.5, 2.0**99
BELOW = 100.0
"""Puts a logit of exactly 0 outside; lost in the rounding of any other that is steepened, but those below 2**-92."""


class SignedMask(nn.Module):
    """Logits (1, 1, S / 4, S / 4) to (1, 1, S, S): tanh(x / 2), or the sign of x (0 is -1) where binarize is 1."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, mask_logits: Tensor, binarize: Tensor) -> Tensor:
        slope = binarize * STEEP + (1 - binarize) * SOFT
        x = F.interpolate(mask_logits * slope, (self.size, self.size), mode="bilinear", align_corners=False)
        return torch.tanh(x - binarize * BELOW)
