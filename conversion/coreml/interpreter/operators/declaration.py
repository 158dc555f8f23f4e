"""How an operator is declared: a function whose parameters are the operator's inputs, by name and default.

The function takes working values: float32 for every float, else the stored type (`program.STORAGE`), scalars as
arrays of shape (), texts as `str`, optional inputs that are absent as the default, which is that of the documentation.
It gives one array, or a tuple where the operator has several results.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Compute = Callable[..., Any]
Types = Mapping[str, str]
"""Element type of each given parameter; of a list, that of its first element."""
Constants = Mapping[str, Any]
"""Those parameters whose value is known when the program is loaded."""


@dataclass(frozen=True, eq=False)
class Operator:
    """One operator.

    compute: what it does.  result: element type of the results.  alike: parameters that must have one element type.
    lists: parameters that take several values.  only: the values that are covered, of parameters that must be constant.
    moves: it moves numbers and computes none, so that its result needs no rounding.  constant: every input must be
    known when the program is loaded, and so is the result.
    """

    kind: str
    compute: Compute
    result: Callable[[Types, Constants], str]
    alike: tuple[str, ...]
    lists: tuple[str, ...]
    only: Mapping[str, tuple[Any, ...]]
    moves: bool
    constant: bool
    parameters: Mapping[str, inspect.Parameter]


OPERATORS: dict[str, Operator] = {}
"""Every operator that is covered, by its name in MIL."""


def like(parameter: str) -> Callable[[Types, Constants], str]:
    """The result has the element type of that parameter."""
    return lambda types, constants: types[parameter]


def always(dtype: str) -> Callable[[Types, Constants], str]:
    """The result has this element type."""
    return lambda types, constants: dtype


def named_by(parameter: str) -> Callable[[Types, Constants], str]:
    """The result has the element type that a text constant names."""
    return lambda types, constants: str(constants[parameter])


def operator(
    *kinds: str,
    result: Callable[[Types, Constants], str] | None = None,
    alike: tuple[str, ...] = (),
    lists: tuple[str, ...] = (),
    only: Mapping[str, tuple[Any, ...]] | None = None,
    moves: bool = False,
    constant: bool = False,
) -> Callable[[Compute], Compute]:
    """Declare the operators `kinds`, all computed by the decorated function; see `Operator`.

    Without `result` the result has the type of the first parameter.
    """

    def declare(compute: Compute) -> Compute:
        parameters = inspect.signature(compute).parameters
        first = next(iter(parameters))
        for kind in kinds:
            add(Operator(kind, compute, result or like(first), alike, lists, only or {}, moves, constant, parameters))
        return compute

    return declare


def add(declared: Operator) -> None:
    """Enter an operator; each is declared once."""
    assert declared.kind not in OPERATORS, declared.kind
    OPERATORS[declared.kind] = declared
