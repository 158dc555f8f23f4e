"""Changes of element type."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..working import WORKING
from .declaration import named_by, operator

Array = Any


@operator("cast", result=named_by("dtype"), only={"dtype": tuple(WORKING)})
def cast(x: Array, dtype: str) -> Array:
    """Towards zero from floats to whole numbers; truth of what is not zero.  Half precision comes by rounding."""
    if dtype.startswith(("int", "uint")) and x.dtype.kind == "f":
        info = np.iinfo(np.dtype(WORKING[dtype]))
        if not (np.isfinite(x).all() and x.min(initial=0) > info.min - 1.0 and x.max(initial=0) < info.max + 1.0):
            raise ValueError(f"there are values that {dtype} cannot hold")
        x = np.trunc(x)
    return x.astype(WORKING[dtype])
