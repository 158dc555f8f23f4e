"""What goes on inside an operator, from its arguments: sums of magnitudes, divisors, probabilities that are dropped."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .interpreter.operators import Operator
from .interpreter.operators.activation import softmax

Array = Any
Arguments = Mapping[str, Any]
NOTHING = np.zeros(0, np.float32)


def sums(operator: Operator, arguments: Arguments) -> Array:
    """Sums of magnitudes of what an operator adds up, which no partial sum exceeds; empty where it adds up nothing."""
    inside = _SUMS.get(operator.kind)
    return NOTHING if inside is None else inside(operator, arguments)


def divisors(kind: str, arguments: Arguments) -> Array:
    """Magnitudes by which an operator divides, or of whose root or logarithm it divides or takes; else empty."""
    below = _DIVISORS.get(kind)
    return NOTHING if below is None else np.abs(np.asarray(below(arguments), np.float32)).reshape(-1)


def dropped(kind: str, arguments: Arguments, least: float) -> float:
    """The largest share of a softmax that lies in probabilities below `least`; 0 for other operators."""
    if kind == "softmax":
        axis = int(arguments.get("axis", -1))
        probabilities = softmax(arguments["x"], axis)
    elif kind == "scaled_dot_product_attention":
        axis, probabilities = -1, softmax(_scores(arguments))
    else:
        return 0.0
    return float(np.where(probabilities < least, probabilities, 0).sum(axis).max(initial=0))


def _of_magnitudes(operator: Operator, arguments: Arguments) -> Array:
    """The operator itself on the magnitudes of every float."""
    return operator.compute(**{key: _magnitudes(value) for key, value in arguments.items()})


def _magnitudes(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_magnitudes(item) for item in value)
    return np.abs(value) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value


def _window_sums(operator: Operator, arguments: Arguments) -> Array:
    return _of_magnitudes(operator, arguments) * np.prod(arguments["kernel_sizes"])


def _axes(arguments: Arguments) -> tuple[int, ...] | None:
    given = arguments.get("axes")
    return None if given is None else tuple(int(axis) for axis in given)


def _added(operator: Operator, arguments: Arguments) -> Array:
    return np.abs(arguments["x"]).sum(_axes(arguments))


def _squares_added(operator: Operator, arguments: Arguments) -> Array:
    return np.square(arguments["x"]).sum(_axes(arguments))


def _normalised(operator: Operator, arguments: Arguments) -> Array:
    """Of the mean, and of the variance."""
    x, axes = arguments["x"], _over(operator.kind, arguments)
    squares = np.square(x - x.mean(axes, keepdims=True)).sum(axes)
    return np.maximum(np.abs(x).sum(axes), squares)


def _over(kind: str, arguments: Arguments) -> tuple[int, ...] | None:
    return tuple(range(2, arguments["x"].ndim)) if kind == "instance_norm" else _axes(arguments)


def _scores(arguments: Arguments) -> Array:
    scores = _products(arguments["query"], arguments["key"])
    mask = arguments.get("attn_mask")
    if mask is None:
        return scores
    return np.where(mask, scores, np.float32(-np.inf)) if mask.dtype == np.bool_ else scores + mask


def _products(query: Array, key: Array) -> Array:
    return np.matmul(query * np.float32(1 / math.sqrt(query.shape[-1])), key.swapaxes(-1, -2))


def _attended(operator: Operator, arguments: Arguments) -> Array:
    """Of the scores, and of the values weighed by them."""
    scores = _products(np.abs(arguments["query"]), np.abs(arguments["key"]))
    weighed = operator.compute(**{**arguments, "value": np.abs(arguments["value"])})
    return np.array([scores.max(), weighed.max(), np.max(_exponentials(_scores(arguments), -1))])


def _exponentials(x: Array, axis: int) -> Array:
    return np.exp(x - x.max(axis, keepdims=True)).sum(axis)


_SUMS: dict[str, Callable[[Operator, Arguments], Array]] = {
    **dict.fromkeys(("linear", "matmul", "einsum", "conv", "conv_transpose"), _of_magnitudes),
    **dict.fromkeys(("reduce_sum", "reduce_mean", "reduce_l1_norm"), _added),
    **dict.fromkeys(("reduce_sum_square", "reduce_l2_norm"), _squares_added),
    **dict.fromkeys(("layer_norm", "instance_norm"), _normalised),
    "l2_norm": lambda operator, given: np.square(given["x"]).sum((-3, -2, -1)),
    "avg_pool": _window_sums,
    "softmax": lambda operator, given: _exponentials(given["x"], int(given.get("axis", -1))),
    "scaled_dot_product_attention": _attended,
}


def _variance(kind: str, given: Arguments) -> Array:
    return given["x"].var(_over(kind, given)) + given.get("epsilon", 1e-5)


_DIVISORS: dict[str, Callable[[Arguments], Array]] = {
    "real_div": lambda given: given["y"],
    "inverse": lambda given: given["x"] + given.get("epsilon", 1e-4),
    "rsqrt": lambda given: given["x"] + given.get("epsilon", 1e-12),
    "log": lambda given: given["x"] + given.get("epsilon", 1e-45),
    "layer_norm": lambda given: _variance("layer_norm", given),
    "instance_norm": lambda given: _variance("instance_norm", given),
    "batch_norm": lambda given: given["variance"] + given.get("epsilon", 1e-5),
    "l2_norm": lambda given: np.square(given["x"]).sum((-3, -2, -1)) + given.get("epsilon", 1e-6),
}
