"""Between numpy arrays and PyTorch tensors, and rounding to half precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def as_tensor(array: NDArray[Any]) -> torch.Tensor:
    """A tensor over the same memory where that can be written and runs forwards, else a copy."""
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array)


def to_half_and_back(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """The nearest half-precision numbers (ties to even), as float32; too large ones become infinite."""
    return as_tensor(array).half().float().numpy()
