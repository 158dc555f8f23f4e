"""Runs one function of a package: each operation in order, each result checked against its declared type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..reader import Package, ProgramError, Variable, read_package
from ..reader.program import FLOATS
from .loading import Step, load
from .working import WORKING, Rounding, rounded

Observer = Callable[[str, str, NDArray[Any]], None]
"""Called with the operator, the name and the value of every result."""


@dataclass(frozen=True)
class _Plan:
    """Steps in order, with the values that nobody needs after each."""

    steps: tuple[Step, ...]
    done: tuple[tuple[str, ...], ...]


class Interpreter:
    """One function, ready to run; constants are read and decompressed once, here.

    Attributes:
        inputs: what it takes, and `outputs` what it gives, as the program declares them.
        function: the program itself, as plain data.

    Args:
        package: what `read_package` gave, or the path of a package.
        function: its name; without one the package's default.
        rounding: "declared" rounds every result to its declared type, so that a half-precision program is computed
            operator by operator in single precision and rounded after each; None keeps single precision throughout.

    Raises:
        FileNotFoundError: there is no such package.
        ProgramError: it cannot be read, or uses operators, or modes of them, that are not covered (all are named), or
            declares types that its operators do not give.
    """

    def __init__(
        self, package: Package | str | Path, function: str | None = None, rounding: Rounding = "declared"
    ) -> None:
        if not isinstance(package, Package):
            package = read_package(package)
        if rounding not in ("declared", None):
            raise ValueError(f"rounding is 'declared' or None, not {rounding!r}")
        program = self.function = package.function(function)
        self.name = f"{package.name}: function {program.name}"
        self.rounding = rounding
        try:
            self._constants, steps = load(program, rounding)
        except ProgramError as error:
            raise ProgramError(f"{self.name}: {error}") from error
        types = {variable.name: variable for operation in program.operations for variable in operation.outputs}
        types |= {variable.name: variable for variable in program.inputs}
        self.inputs: tuple[Variable, ...] = program.inputs
        self.outputs: tuple[Variable, ...] = tuple(types[name] for name in program.outputs)
        self._plan = _plan(steps, {*program.outputs, *self._constants})

    def __call__(self, **inputs: Any) -> dict[str, NDArray[Any]]:
        """The outputs by name, floats as float32; see `run`."""
        return self.run(inputs)

    def run(self, inputs: dict[str, Any], observe: Observer | None = None) -> dict[str, NDArray[Any]]:
        """The outputs by name: floats as float32 whatever their declared type, all else as declared.

        Args:
            inputs: arrays of the declared shapes.  Floats of any width stand for one another and are rounded to the
                declared type if that is asked for; all else must have the declared type.
            observe: sees every result.

        Raises:
            ProgramError: an input is missing, unknown or of another type; an operator fails; or a result is not of
                its declared type or shape.
        """
        values: dict[str, Any] = {**self._constants, **self._accepted(inputs)}
        for step, done in zip(self._plan.steps, self._plan.done, strict=True):
            try:
                results = step.results(values, self.rounding)
            except ProgramError as error:
                raise ProgramError(f"{self.name}: {error}") from error
            for variable, result in zip(step.outputs, results, strict=True):
                values[variable.name] = result
                if observe is not None:
                    observe(step.kind, variable.name, result)
            for name in done:
                del values[name]
        return {variable.name: np.array(values[variable.name]) for variable in self.outputs}

    def _accepted(self, inputs: dict[str, Any]) -> dict[str, NDArray[Any]]:
        declared = {variable.name: variable.type for variable in self.inputs}
        if set(inputs) != set(declared):
            raise ProgramError(f"{self.name}: takes {', '.join(declared)}, was given {', '.join(inputs) or 'nothing'}")
        accepted = {}
        for name, wanted in declared.items():
            array = np.asarray(inputs[name])
            fits = array.dtype.kind == "f" if wanted.dtype in FLOATS else array.dtype == WORKING[wanted.dtype]
            if not fits or array.shape != wanted.shape:
                found = f"{array.dtype} {list(array.shape)}"
                raise ProgramError(f"{self.name}: input {name} is declared {wanted}, was given {found}")
            accepted[name] = rounded(np.asarray(array, WORKING[wanted.dtype]), wanted.dtype, self.rounding)
        return accepted


def _plan(steps: Sequence[Step], kept: set[str]) -> _Plan:
    """When each value is used last."""
    seen: set[str] = set(kept)
    done: list[tuple[str, ...]] = []
    for step in reversed(steps):
        last = {*step.needs, *(variable.name for variable in step.outputs)} - seen
        seen |= last
        done.append(tuple(sorted(last)))
    return _Plan(tuple(steps), tuple(reversed(done)))
