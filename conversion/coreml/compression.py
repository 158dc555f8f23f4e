"""Smaller weights in a program that computes in half precision: 8-bit integers, or palettes of 64 numbers.

Weights are compressed by a last pass of the converter: compressing a saved package would run all its passes again,
those too that are left out on purpose.
"""

from __future__ import annotations

from typing import Any

from .palette import palette

OPERATORS = ("conv", "conv_transpose", "linear")
"""Those whose weights are compressed; tables of positions and rotations stay as they are."""
LEAST = 2048
"""Weights with fewer numbers stay as they are: what they take is mostly their label."""
GROUP = 16
"""Output channels that share a palette where programs can have several for one weight (iOS 18)."""
BITS = 6
WEIGHTS = ("fp16", "int8", "palette6")
"""How weights may be stored."""


def add_compression(tools: Any, passes: Any, weights: str, target: str) -> None:
    """Let the converter compress weights last of all.

    Args:
        tools: the module coremltools.
        passes: of the converter, changed in place.
        weights: of `WEIGHTS`.
        target: oldest system that runs the program.
    """
    if weights == "fp16":
        return
    name, each = _integers(tools) if weights == "int8" else _palettes(tools, target)
    passes.append_pass(name)
    passes.set_options(name, {"config": _of_weights(tools, each)})


def _of_weights(tools: Any, each: Any) -> Any:
    """The compression `each` for every constant that is nothing but a weight of `OPERATORS`.

    By type of operator alone the converter refuses a constant that another operator shares, such as a bias of zeros.
    """

    class OfWeights(tools.optimize.coreml.OptimizationConfig):  # type: ignore[misc, name-defined]
        def _get_const_op_config(self, op: Any) -> Any:
            (output,) = op.outputs
            users = output.child_ops
            compressed = users and all(user.op_type in OPERATORS and user.weight is output for user in users)
            return each if compressed else None

    return OfWeights()


def _integers(tools: Any) -> tuple[str, Any]:
    """8-bit integers, one scale per output channel, zero at zero."""
    each = tools.optimize.coreml.OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int8", weight_threshold=LEAST)
    return "compression::linear_quantize_weights", each


def _palettes(tools: Any, target: str) -> tuple[str, Any]:
    grouped = {"granularity": "per_grouped_channel", "group_size": GROUP} if target == "iOS18" else {}
    each = tools.optimize.coreml.OpPalettizerConfig(
        mode="custom", lut_function=lambda values: palette(values, BITS), weight_threshold=LEAST, **grouped
    )
    return "compression::palettize_weights", each
