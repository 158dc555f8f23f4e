"""The non-overlap rule: at each pixel only the highest object may be foreground."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def suppress_overlaps(logits: NDArray[np.float32], limit: float) -> NDArray[np.float32]:
    """Lower all but the highest object of each pixel to at most `limit`.

    Args:
        logits: (N, H, W); of equal objects the first one wins (SAM 2's ``_apply_non_overlapping_constraints``).
    """
    if len(logits) < 2:
        return logits
    winner = logits.argmax(0)
    keep = np.arange(len(logits))[:, None, None] == winner
    return np.where(keep, logits, np.minimum(logits, np.float32(limit)))
