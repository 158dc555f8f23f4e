"""Faults to plant in a program, one at a time: what a converter, or a hand that edits a graph, could get wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from etam_onnx.conversion.coreml.reader import Function, Literal, Operation, Package

SWAPPED = ("sub", "real_div", "matmul")
WITH_CONSTANTS = ("add", "sub", "mul", "real_div", "matmul")
EXCHANGED = {
    "sin": "cos",
    "cos": "sin",
    "add": "sub",
    "sub": "add",
    "relu": "identity",
    "sigmoid": "tanh",
    "sqrt": "abs",
}
TINY, HUGE = 1e-4, 1e3
"""Constants below are there against division by zero, those above stand for infinity: a tenth more means nothing."""
Constants = dict[str, Literal]


@dataclass(frozen=True)
class Fault:
    """What is wrong with which operation, and the package with it."""

    what: str
    operation: Operation
    package: Package


def faults(package: Package) -> Iterator[Fault]:
    """Every fault in every operation; faults that leave the numbers as they are do not count."""
    function = package.function()
    constants = constants_of(function)
    for place, operation in enumerate(function.operations):
        if operation.kind == "const":
            continue
        for what, changed in [*_in_structure(operation, constants), *_in_numbers(operation, constants)]:
            operations = (*function.operations[:place], changed, *function.operations[place + 1 :])
            planted = replace(package, functions={function.name: replace(function, operations=operations)})
            yield Fault(f"{operation.kind}: {what}", operation, planted)


def constants_of(function: Function) -> Constants:
    return {op.outputs[0].name: op.arguments["val"][0] for op in function.operations if op.kind == "const"}  # type: ignore[misc]


def known(operation: Operation, key: str, constants: Constants) -> Literal | None:
    """The literal that an argument has, if it has one."""
    given = operation.arguments.get(key, ())
    if len(given) != 1:
        return None
    return constants.get(given[0]) if isinstance(given[0], str) else given[0]


def _with(operation: Operation, key: str, literal: Literal, array: Any) -> Operation:
    changed = Literal(literal.type, np.asarray(array, literal.array.dtype).reshape(literal.type.shape))
    return replace(operation, arguments={**operation.arguments, key: (changed,)})


def _in_structure(operation: Operation, constants: Constants) -> Iterator[tuple[str, Operation]]:
    """Inputs swapped, operators exchanged, other axes and bounds."""
    kind, arguments = operation.kind, operation.arguments

    def array(key: str) -> Any:
        literal = known(operation, key, constants)
        assert literal is not None, (kind, key)
        return literal.array

    def given(key: str, value: Any) -> Operation:
        literal = known(operation, key, constants)
        assert literal is not None, (kind, key)
        return _with(operation, key, literal, value)

    if kind in SWAPPED:
        yield "inputs swapped", replace(operation, arguments={**arguments, "x": arguments["y"], "y": arguments["x"]})
    added = known(operation, "y", constants)
    if kind in EXCHANGED and (added is None or np.abs(added.array).max() > TINY):
        yield f"became {EXCHANGED[kind]}", replace(operation, kind=EXCHANGED[kind])
    if kind == "concat":
        yield "values in reverse", replace(operation, arguments={**arguments, "values": arguments["values"][::-1]})
        yield "another axis", given("axis", array("axis") + (1 if array("axis") < 0 else -1))
    if kind == "softmax":
        yield "another axis", given("axis", -2)
    if kind == "reduce_mean":
        yield "another axis", given("axes", array("axes") + 1)
    if kind == "transpose":
        yield "two axes turned", given("perm", [*array("perm")[:-2], array("perm")[-1], array("perm")[-2]])
    if kind == "matmul":
        for key in ("transpose_x", "transpose_y"):
            if key in arguments:
                yield f"{key} turned", given(key, not array(key))
    if kind == "slice_by_index":
        for key in ("begin", "end"):
            mask = known(operation, f"{key}_mask", constants)
            counting = [i for i in range(len(array(key))) if mask is None or not mask.array[i]]
            if counting:
                yield f"{key} moved by one", given(key, array(key) + (np.arange(len(array(key))) == counting[-1]))
    if kind in ("conv", "conv_transpose"):
        yield "other strides", given("strides", 3 - np.minimum(array("strides"), 2))
        if array("pad_type") == "custom":
            yield "padding moved", given("pad", np.add(np.roll(array("pad"), 1), [1, 0, -1, 0]))
    if kind == "avg_pool":
        yield "other strides", given("strides", np.add(array("strides"), [0, 1]))
    if kind == "upsample_bilinear":
        aligned = given("align_corners", True)
        kept = {key: value for key, value in aligned.arguments.items() if key != "half_pixel_centers"}
        yield "aligned corners", replace(aligned, arguments=kept)
    if kind == "gelu":
        approximated = Literal(known(operation, "mode", constants).type, np.array("TANH_APPROXIMATION"))  # type: ignore[union-attr]
        yield "approximated", replace(operation, arguments={**arguments, "mode": (approximated,)})


def _in_numbers(operation: Operation, constants: Constants) -> Iterator[tuple[str, Operation]]:
    """Weights, biases, scales, bounds and epsilons."""
    keys = {
        "linear": ("weight", "bias"),
        "conv": ("weight", "bias"),
        "conv_transpose": ("weight", "bias"),
        "layer_norm": ("gamma", "beta", "epsilon"),
        "clip": ("alpha", "beta"),
        **dict.fromkeys(WITH_CONSTANTS, ("x", "y")),
    }
    for key in keys.get(operation.kind, ()):
        literal = known(operation, key, constants)
        if literal is None:
            continue
        numbers = literal.array
        size = np.abs(numbers).max()
        if operation.kind == "clip":
            changes = {"moved": numbers + 0.2 - 0.4 * numbers}
        elif 0 < size <= TINY:
            changes = {"raised to 0.1": np.full_like(numbers, 0.1)}
        elif numbers.size == 1:
            changes = {"with another sign" if size > HUGE else "a tenth more": numbers * (-1 if size > HUGE else 1.1)}
        else:
            turned = numbers * np.where(np.arange(numbers.size).reshape(numbers.shape) % 2, -1, 1)
            changes = {"shifted by one": np.roll(numbers, 1), "with every second number turned": turned}
        for what, changed in changes.items():
            if not np.array_equal(changed, numbers):
                yield f"{key} {what}", _with(operation, key, literal, changed)


def moves_all_scores_alike(function: Function, operation: Operation) -> bool:
    """Whether an operation adds a constant to the keys of an attention: every score of a query moves by as much, and
    the softmax is the same.  True if its result becomes, only rearranged, the right side of a product that a softmax
    follows.
    """
    readers: dict[str, list[tuple[str, Operation]]] = {}
    for reader in function.operations:
        for key, arguments in reader.arguments.items():
            for argument in arguments:
                if isinstance(argument, str):
                    readers.setdefault(argument, []).append((key, reader))
    allowed = {"reshape": "x", "transpose": "x"}
    name = operation.outputs[0].name
    after_product = False
    while len(readers.get(name, [])) == 1:
        key, reader = readers[name][0]
        if reader.kind == "matmul" and not after_product and key == "y":
            after_product, allowed = True, {"add": "x"}
        elif after_product and reader.kind == "softmax":
            return True
        elif allowed.get(reader.kind) != key:
            return False
        name = reader.outputs[0].name
    return False
