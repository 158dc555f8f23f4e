"""Region similarity J: the Jaccard index of two masks (Perazzi et al., DAVIS, CVPR 2016, section 4)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def region_similarity(prediction: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks of one object on one frame.

    Args:
        prediction: boolean mask (H, W), frame pixels.
        truth: boolean mask (H, W) of the same size.

    Returns:
        J in [0, 1]; two empty masks agree perfectly and give 1.

    Raises:
        ValueError: the two masks differ in size.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"masks to compare differ in size: {prediction.shape} against {truth.shape}")
    union = np.count_nonzero(prediction | truth)
    if union == 0:
        return 1.0
    return np.count_nonzero(prediction & truth) / union
