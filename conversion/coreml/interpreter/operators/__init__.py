"""The operators that are covered, one family per file; importing this enters them all in `OPERATORS`."""

from . import (
    activation,
    attention,
    casting,
    compression,
    convolution,
    elementwise,
    gathering,
    linear_algebra,
    normalisation,
    pooling,
    quantization,
    reduction,
    resampling,
    shape,
    slicing,
)
from .declaration import OPERATORS, Operator

__all__ = [
    "OPERATORS",
    "Operator",
    "activation",
    "attention",
    "casting",
    "compression",
    "convolution",
    "elementwise",
    "gathering",
    "linear_algebra",
    "normalisation",
    "pooling",
    "quantization",
    "reduction",
    "resampling",
    "shape",
    "slicing",
]
