"""A converted program as plain data: functions, operations, and values with their types.  Knows nothing of files.

The words are those of MIL, Core ML's intermediate language: an ML program is a set of functions, a function is a list
of operations, and every value between them has a declared type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

STORAGE: dict[str, type[np.generic]] = {
    "fp16": np.float16,
    "fp32": np.float32,
    "int32": np.int32,
    "uint32": np.uint32,
    "int16": np.int16,
    "uint16": np.uint16,
    "int8": np.int8,
    "uint8": np.uint8,
    "int4": np.int8,
    "uint6": np.uint8,
    "uint4": np.uint8,
    "uint3": np.uint8,
    "uint2": np.uint8,
    "uint1": np.uint8,
    "bool": np.bool_,
    "string": np.str_,
}
"""Type names of MIL, and how numpy holds their values; numbers of less than a byte take a byte each."""
FLOATS = ("fp16", "fp32")


class ProgramError(ValueError):
    """A Core ML package or program that cannot be read or run, said in one sentence on one line, whatever names a
    damaged file puts into it.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(" ".join(sentence.split()))


def bits_of(dtype: str) -> int:
    """Bits that one number of this type takes in a file."""
    digits = "".join(letter for letter in dtype if letter.isdigit())
    return int(digits) if digits else 8


@dataclass(frozen=True)
class TensorType:
    """Element type, a key of `STORAGE`, and shape; a scalar has the shape ()."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


@dataclass(frozen=True)
class Variable:
    """A value with a name: an input, or a result of an operation."""

    name: str
    type: TensorType


@dataclass(frozen=True, eq=False)
class Literal:
    """A value written in the program or in its weight file, as stored (see `STORAGE`); never written to."""

    type: TensorType
    array: NDArray[Any]


Argument = str | Literal
"""What an operation takes: the name of a value, or a literal."""


@dataclass(frozen=True, eq=False)
class Operation:
    """One call of an operator.

    kind: the operator, such as "conv".  name: for error messages.  arguments: by parameter; a list has several.
    Attributes other than the name are arguments too: that is where older programs keep what newer ones pass.
    nested: whether it holds blocks of its own, as loops and conditions do.
    """

    kind: str
    name: str
    arguments: dict[str, tuple[Argument, ...]]
    outputs: tuple[Variable, ...]
    nested: bool = False


@dataclass(frozen=True, eq=False)
class Function:
    """One function: `opset` such as "CoreML7" (iOS 17) or "CoreML8" (iOS 18); outputs are names of values."""

    name: str
    opset: str
    inputs: tuple[Variable, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]

    def histogram(self) -> dict[str, int]:
        """How many operations of each operator there are, by name; constants are not counted."""
        kinds = [operation.kind for operation in self.operations if operation.kind != "const"]
        return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


@dataclass(frozen=True)
class Feature:
    """An input or output as the package describes it to an app, with its documentation.

    image: "RGB", "BGR" or "grey" if an app gives or takes a picture of 8 bits, else "".  The program has a float array
    (1, C, H, W) of 0..255 in its place.
    """

    name: str
    type: TensorType
    doc: str
    image: str = ""


@dataclass(frozen=True, eq=False)
class Package:
    """What a saved package holds.

    functions: by name.  default_function: the one that runs unless another is asked for.  inputs and outputs: the
    descriptions, per function.  metadata: author, licence and so on, those that are not empty.
    """

    name: str
    specification_version: int
    functions: dict[str, Function]
    default_function: str
    inputs: dict[str, tuple[Feature, ...]]
    outputs: dict[str, tuple[Feature, ...]]
    metadata: dict[str, str]

    def function(self, name: str | None = None) -> Function:
        """A function, without a name the default one.

        Raises:
            ProgramError: there is none of that name.
        """
        name = self.default_function if name is None else name
        if name not in self.functions:
            raise ProgramError(f"{self.name}: no function is called {name!r}, there are {', '.join(self.functions)}")
        return self.functions[name]
