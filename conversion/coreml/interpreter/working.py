"""How values are held while a program runs: every float as float32, all else as stored."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..reader.program import FLOATS, STORAGE
from ..reader.program import Literal as StoredLiteral
from .tensors import to_half_and_back

Rounding = Literal["declared"] | None
WORKING: dict[str, type[np.generic]] = {
    dtype: np.float32 if dtype in FLOATS else kind for dtype, kind in STORAGE.items() if dtype != "string"
}
"""Element type of MIL to that of working arrays."""


def working_value(literal: StoredLiteral) -> Any:
    """A literal as operators take it: a float32 copy of floats, texts as `str`, or tuples of them."""
    if literal.type.dtype == "string":
        texts = literal.array.reshape(-1).tolist()
        return texts[0] if literal.type.shape == () else tuple(texts)
    return np.array(literal.array, WORKING[literal.type.dtype])


def rounded(array: NDArray[Any], dtype: str, rounding: Rounding) -> NDArray[Any]:
    """A result as its declared type can hold it, if that is asked for; only half precision makes a difference."""
    return to_half_and_back(array) if rounding and dtype == "fp16" else array
