"""From a function to steps that can be run: names resolved, coverage and types checked, constants prepared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import Parameter
from typing import Any

import numpy as np

from ..reader import Function, Literal, Operation, ProgramError, TensorType, Variable
from .operators import OPERATORS, Operator
from .working import WORKING, Rounding, rounded, working_value

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Bound:
    """Where an argument comes from: a named value, or one that is known."""

    name: str | None
    known: Any = None

    def value(self, values: Values) -> Any:
        return self.known if self.name is None else values[self.name]


@dataclass(frozen=True, eq=False)
class Step:
    """One operation, ready to run."""

    kind: str
    name: str
    operator: Operator
    single: dict[str, Bound]
    several: dict[str, tuple[Bound, ...]]
    outputs: tuple[Variable, ...]

    @property
    def needs(self) -> set[str]:
        """Names of the values it takes."""
        bounds = [*self.single.values(), *(bound for bounds in self.several.values() for bound in bounds)]
        return {bound.name for bound in bounds if bound.name is not None}

    def results(self, values: Values, rounding: Rounding) -> list[Any]:
        """Compute, round, and check against the declared types.

        Raises:
            ProgramError: the operator fails, or its results are not those declared.
        """
        arguments = {key: bound.value(values) for key, bound in self.single.items()}
        for key, bounds in self.several.items():
            arguments[key] = tuple(bound.value(values) for bound in bounds)
        try:
            with np.errstate(all="ignore"):
                computed = self.operator.compute(**arguments)
        except Exception as error:  # whatever numpy or PyTorch object to is the program's fault
            raise ProgramError(f"{self.kind} {self.name!r} fails: {str(error).splitlines()[0]}") from error
        results = list(computed) if isinstance(computed, tuple) else [computed]
        if len(results) != len(self.outputs):
            raise ProgramError(f"{self.kind} {self.name!r} gives {len(results)} results, not {len(self.outputs)}")
        return [
            self._checked(np.asarray(result), output, rounding)
            for result, output in zip(results, self.outputs, strict=True)
        ]

    def _checked(self, result: Any, output: Variable, rounding: Rounding) -> Any:
        declared = output.type
        if result.shape != declared.shape or result.dtype != WORKING[declared.dtype]:
            raise ProgramError(
                f"{self.kind} {output.name!r} is declared {declared}, its operator gives "
                f"{result.dtype} {list(result.shape)}"
            )
        return result if self.operator.moves else rounded(result, declared.dtype, rounding)


def load(function: Function, rounding: Rounding) -> tuple[dict[str, Any], list[Step]]:
    """Values of the constants by name, and the steps that are left.

    Raises:
        ProgramError: operators or modes are not covered (all of them are named), or declared types contradict them.
    """
    constants = {op.outputs[0].name: _constant(op) for op in function.operations if op.kind == "const" and op.outputs}
    operations = [operation for operation in function.operations if operation.kind != "const"]
    uncovered = sorted({complaint for operation in operations for complaint in _uncovered(operation, constants)})
    if uncovered:
        raise ProgramError(f"it uses what the interpreter does not cover: {'; '.join(uncovered)}")
    types = {variable.name: variable.type for variable in function.inputs}
    types |= {variable.name: variable.type for operation in function.operations for variable in operation.outputs}
    steps = []
    for operation in operations:
        step = _step(operation, constants, types)
        if step.operator.constant:
            constants |= _decompressed(step, rounding)
        else:
            steps.append(step)
    return {name: value for name, value in constants.items() if not isinstance(value, str | tuple)}, steps


def _uncovered(operation: Operation, constants: Values) -> list[str]:
    """What the interpreter does not know about an operation, by name."""
    declared = OPERATORS.get(operation.kind)
    if declared is None or operation.nested:
        return [f"operator {operation.kind}"]
    complaints = [
        f"operator {operation.kind} with input {key}" for key in operation.arguments if key not in declared.parameters
    ]
    for key, covered in declared.only.items():
        for argument in operation.arguments.get(key, ()):
            value = _bind(argument, constants).known
            if value is None:
                complaints.append(f"operator {operation.kind} with a computed {key}")
            elif np.ndim(value) or value not in covered:
                complaints.append(f"operator {operation.kind} with {key} {value}")
    return complaints


def _constant(operation: Operation) -> Any:
    given = operation.arguments.get("val", ())
    if len(given) != 1 or not isinstance(given[0], Literal) or len(operation.outputs) != 1:
        raise ProgramError(f"constant {operation.name!r} has no value")
    if given[0].type != operation.outputs[0].type:
        raise ProgramError(f"constant {operation.name!r} is declared {operation.outputs[0].type}, not {given[0].type}")
    return working_value(given[0])


def _bind(argument: str | Literal, constants: Values) -> Bound:
    """Names of texts become the texts; other constants stay named, so that there is one copy."""
    if isinstance(argument, Literal):
        return Bound(None, working_value(argument))
    known = constants.get(argument)
    return Bound(None, known) if isinstance(known, str | tuple) else Bound(argument, known)


def _step(operation: Operation, constants: Values, types: Mapping[str, TensorType]) -> Step:
    """Bind arguments, check their number and the declared element types.

    Raises:
        ProgramError: an argument is missing or several are given for one, or declared types contradict the operator.
    """
    declared = OPERATORS[operation.kind]
    arguments = {
        key: tuple(_bind(argument, constants) for argument in given) for key, given in operation.arguments.items()
    }
    where = f"{operation.kind} {operation.name!r}"
    for key, parameter in declared.parameters.items():
        count = len(arguments.get(key, ()))
        least = 1 if parameter.default is Parameter.empty else 0
        if count < least or (count > 1 and key not in declared.lists):
            raise ProgramError(f"{where} is given {count} values for {key}")
    of_each = {
        key: [types[given].dtype if isinstance(given, str) else given.type.dtype for given in operation.arguments[key]]
        for key in arguments
    }
    together = {dtype for key in declared.alike for dtype in of_each.get(key, [])}
    if len(together) > 1:
        raise ProgramError(f"{where} mixes values of {' and '.join(sorted(together))}")
    known = {key: bounds[0].known for key, bounds in arguments.items()}
    result = declared.result({key: kinds[0] for key, kinds in of_each.items()}, known)
    for variable in operation.outputs:
        if variable.type.dtype != result:
            raise ProgramError(f"{where} is declared {variable.type}, its operator gives {result}")
    return Step(
        operation.kind,
        operation.name,
        declared,
        {key: bounds[0] for key, bounds in arguments.items() if key not in declared.lists},
        {key: bounds for key, bounds in arguments.items() if key in declared.lists},
        operation.outputs,
    )


def _decompressed(step: Step, rounding: Rounding) -> dict[str, Any]:
    unknown = [bound.name for bound in step.single.values() if bound.known is None and bound.name is not None]
    if unknown:
        raise ProgramError(f"{step.kind} {step.name!r} needs constants, {unknown[0]!r} is computed")
    known = {bound.name: bound.known for bound in step.single.values() if bound.name is not None}
    results = step.results(known, rounding)
    return {variable.name: result for variable, result in zip(step.outputs, results, strict=True)}
