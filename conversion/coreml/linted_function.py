"""What the rules of Core ML packages look at: a function as it is stored, and as `reader` reads it where it can."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from ...graphs.package_files import referenced_files
from .reader import Function, Literal, Operation, ProgramError, TensorType, Variable, read_package
from .reader.messages import parsed_model

MODEL_SUFFIX = ".mlmodel"
DECOMPRESSION = "constexpr_"
"""What the names of operators begin with that unpack weights when a package is loaded."""


@dataclass(frozen=True, eq=False)
class LintedFunction:
    """One function of a package.

    message: the `Function` of the protobuf.  read: the same as data, None if sizes are open or it keeps state, which
    cannot be read.  system: oldest one that the package is meant for, such as "iOS17"; empty if nobody says.
    """

    name: str
    message: Any
    read: Function | None
    system: str = ""

    @property
    def size(self) -> int:
        """Operators, counted in the protobuf: what `operations` has where it could be read."""
        return sum(
            item.type != "const" and not item.type.startswith(DECOMPRESSION) for item in operations_of(self.message)
        )

    @cached_property
    def operations(self) -> tuple[Operation, ...]:
        """What is computed: neither constants nor the unpacking of weights."""
        everything = self.read.operations if self.read else ()
        return tuple(item for item in everything if item.kind != "const" and not item.kind.startswith(DECOMPRESSION))

    @cached_property
    def values(self) -> tuple[Variable, ...]:
        """Inputs and everything computed."""
        inputs = self.read.inputs if self.read else ()
        return (*inputs, *(variable for operation in self.operations for variable in operation.outputs))

    @cached_property
    def literals(self) -> dict[str, Literal]:
        """Constants by name."""
        everything = self.read.operations if self.read else ()
        found = {item.outputs[0].name: item.arguments["val"][0] for item in everything if item.kind == "const"}
        return {name: value for name, value in found.items() if isinstance(value, Literal)}

    @cached_property
    def types(self) -> dict[str, TensorType]:
        """Of every value by name, constants included."""
        everything = self.read.operations if self.read else ()
        stored = {variable.name: variable.type for item in everything for variable in item.outputs}
        return stored | {variable.name: variable.type for variable in self.values}

    def is_constant(self, argument: str | Literal) -> bool:
        """Whether it is known when the package is loaded."""
        return isinstance(argument, Literal) or argument not in self._computed

    @cached_property
    def _computed(self) -> frozenset[str]:
        return frozenset(variable.name for variable in self.values)

    def type_of(self, argument: str | Literal) -> TensorType:
        """Declared type of an argument."""
        return argument.type if isinstance(argument, Literal) else self.types[argument]

    def literal(self, argument: str | Literal) -> Literal | None:
        """The constant that an argument is, None if it is computed or unpacked."""
        return argument if isinstance(argument, Literal) else self.literals.get(argument)


def linted_functions(path: Path, system: str = "") -> dict[str, LintedFunction]:
    """The functions of a package (a folder NAME.mlpackage) by name.

    Raises:
        FileNotFoundError: there is no such folder.
        ProgramError: it is not a package, is damaged, holds something else than an ML program, or uses what the reader
            does not read, open sizes and state apart; or coremltools is not installed.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"there is no package at {path}")
    try:
        names = [name for name in referenced_files(path) if PurePosixPath(name).suffix == MODEL_SUFFIX]
    except ValueError as error:
        raise ProgramError(f"{path} is not a Core ML package: {error}") from error
    if len(names) != 1:
        raise ProgramError(f"{path} is not a Core ML package: it names no {MODEL_SUFFIX} file")
    model = parsed_model(path / names[0], path.name)
    if model.WhichOneof("Type") != "mlProgram":
        raise ProgramError(f"{path.name}: expected an ML program, found {model.WhichOneof('Type') or 'nothing'}")
    messages = dict(sorted(model.mlProgram.functions.items()))
    fixed = not any(kind != "fixed" for message in messages.values() for _, kind in kinds_of_values(message))
    read = read_package(path).functions if fixed else {}
    return {name: LintedFunction(name, message, read.get(name), system) for name, message in messages.items()}


def kinds_of_values(message: Any) -> Iterator[tuple[str, str]]:
    """Names of a function's values, and what they are: a tensor of "fixed" or of "open" sizes, or "state".

    Args:
        message: the `Function` of the protobuf; blocks inside operations are looked into.
    """
    yield from ((value.name, _kind(value.type)) for value in message.inputs)
    for operation in operations_of(message):
        yield from ((value.name, _kind(value.type)) for value in operation.outputs)


def operations_of(message: Any) -> Iterator[Any]:
    """The operations of a function's protobuf, those of blocks inside them too."""
    pending = [operation for block in message.block_specializations.values() for operation in block.operations]
    while pending:
        operation = pending.pop(0)
        yield operation
        pending += [inner for block in operation.blocks for inner in block.operations]


def _kind(message: Any) -> str:
    kind = message.WhichOneof("type")
    if kind == "stateType":
        return "state"
    tensor = message.listType.type.tensorType if kind == "listType" else message.tensorType
    return "fixed" if all(size.WhichOneof("dimension") == "constant" for size in tensor.dimensions) else "open"
