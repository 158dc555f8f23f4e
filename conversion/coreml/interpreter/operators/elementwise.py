"""Arithmetic, comparison and logic, element by element with numpy's broadcasting."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..tensors import as_tensor
from .declaration import always, like, operator

Array = Any

_ARITHMETIC: dict[str, Any] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "real_div": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "pow": np.power,
    "floor_div": np.floor_divide,
    "mod": np.mod,
}
_COMPARISONS: dict[str, Any] = {
    "equal": np.equal,
    "not_equal": np.not_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
}
_FUNCTIONS: dict[str, Any] = {
    "abs": np.abs,
    "sign": np.sign,
    "square": np.square,
    "sqrt": np.sqrt,
    "exp": np.exp,
    "exp2": np.exp2,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "atanh": np.arctanh,
    "ceil": np.ceil,
    "floor": np.floor,
    "round": np.rint,
    "logical_not": np.logical_not,
    "identity": np.array,
}


def _two(function: Any) -> Any:
    def compute(x: Array, y: Array) -> Array:
        return function(x, y)

    return compute


def _one(function: Any) -> Any:
    def compute(x: Array) -> Array:
        return function(x)

    return compute


for _kind, _function in _ARITHMETIC.items():
    operator(_kind, alike=("x", "y"))(_two(_function))
for _kind, _function in _COMPARISONS.items():
    operator(_kind, alike=("x", "y"), result=always("bool"))(_two(_function))
for _kind, _function in _FUNCTIONS.items():
    operator(_kind)(_one(_function))


@operator("rsqrt")
def rsqrt(x: Array, epsilon: Array = 1e-12) -> Array:
    return 1 / np.sqrt(x + epsilon)


@operator("inverse")
def inverse(x: Array, epsilon: Array = 1e-4) -> Array:
    """Note that the documented default of epsilon is 1e-4."""
    return 1 / (x + epsilon)


@operator("log")
def log(x: Array, epsilon: Array = 1e-45) -> Array:
    return np.log(x + epsilon)


@operator("erf")
def erf(x: Array) -> Array:
    return torch.erf(as_tensor(x)).numpy()


@operator("clip")
def clip(x: Array, alpha: Array, beta: Array) -> Array:
    return np.minimum(np.maximum(x, alpha), beta)


@operator("threshold")
def threshold(x: Array, alpha: Array) -> Array:
    """The larger of x and alpha."""
    return np.maximum(x, alpha)


@operator("select", alike=("a", "b"), result=like("a"))
def select(cond: Array, a: Array, b: Array) -> Array:
    return np.where(cond, a, b)
