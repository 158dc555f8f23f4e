"""Activation functions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from ..tensors import as_tensor
from .declaration import operator

Array = Any


@operator("relu")
def relu(x: Array) -> Array:
    return np.maximum(x, 0)


@operator("relu6")
def relu6(x: Array) -> Array:
    return np.clip(x, 0, 6)


@operator("leaky_relu")
def leaky_relu(x: Array, alpha: Array) -> Array:
    return np.where(x >= 0, x, alpha * x)


@operator("prelu")
def prelu(x: Array, alpha: Array) -> Array:
    """`alpha` has one slope per channel; channels are the second dimension."""
    return np.where(x >= 0, x, alpha.reshape(-1, *(1,) * (x.ndim - 2)) * x)


@operator("elu")
def elu(x: Array, alpha: Array) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


@operator("clamped_relu")
def clamped_relu(x: Array, alpha: Array, beta: Array) -> Array:
    """Above zero x, below alpha x, never more than beta."""
    return np.minimum(np.where(x >= 0, x, alpha * x), beta)


@operator("linear_activation")
def linear_activation(x: Array, alpha: Array, beta: Array) -> Array:
    return alpha * x + beta


@operator("sigmoid")
def sigmoid(x: Array) -> Array:
    return torch.sigmoid(as_tensor(x)).numpy()


@operator("sigmoid_hard")
def sigmoid_hard(x: Array, alpha: Array, beta: Array) -> Array:
    return np.clip(alpha * x + beta, 0, 1)


@operator("silu")
def silu(x: Array) -> Array:
    return x * sigmoid(x)


@operator("softplus")
def softplus(x: Array) -> Array:
    return np.logaddexp(x, np.float32(0))


@operator("softsign")
def softsign(x: Array) -> Array:
    return x / (1 + np.abs(x))


@operator("scaled_tanh")
def scaled_tanh(x: Array, alpha: Array, beta: Array) -> Array:
    return alpha * np.tanh(beta * x)


@operator("softmax")
def softmax(x: Array, axis: Array = -1) -> Array:
    return torch.softmax(as_tensor(x), int(axis)).numpy()


@operator("gelu", only={"mode": ("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION")})
def gelu(x: Array, mode: str = "EXACT") -> Array:
    if mode == "SIGMOID_APPROXIMATION":
        return x * sigmoid(np.float32(1.702) * x)
    if mode == "TANH_APPROXIMATION":
        return 0.5 * x * (1 + np.tanh(np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x**3)))
    return torch.nn.functional.gelu(as_tensor(x)).numpy()
