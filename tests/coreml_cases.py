"""Programs of one operator each, with what numpy or PyTorch make of the same values; and how they are checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from coreml_programs import inferred, mb, saved_program

from etam_onnx.conversion.coreml.interpreter import Interpreter, read_package

ERROR = 1.5e-6
"""Largest error relative to the largest value; measured: at most 1.7e-7."""
rng = np.random.default_rng(0)


def normal(*shape: int) -> Any:
    return rng.standard_normal(shape).astype(np.float32)


def positive(*shape: int) -> Any:
    return np.abs(normal(*shape)) + np.float32(0.1)


def whole(low: int, high: int, *shape: int) -> Any:
    return rng.integers(low, high, shape).astype(np.int32)


def double(array: Any) -> torch.Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.double() if tensor.is_floating_point() else tensor


def on_tensors(function: Callable[..., Any]) -> Callable[..., Any]:
    """PyTorch's answer to arrays, in double precision."""
    return lambda *arrays: function(*map(double, arrays))


@dataclass(frozen=True)
class Case:
    """A program, what it is given, and what is expected of it.

    name: the operator, then what is special.  seconded: whether coremltools can compute it too.
    """

    name: str
    build: Callable[..., Any]
    arrays: tuple[Any, ...]
    expected: Callable[..., Any]
    seconded: bool = True

    def __str__(self) -> str:
        return self.name

    @property
    def kind(self) -> str:
        return self.name.split()[0]


def binary(kind: str, expected: Callable[..., Any], x: Any, y: Any) -> Case:
    return Case(kind, lambda x, y: getattr(mb, kind)(x=x, y=y), (x, y), expected)


def unary(kind: str, expected: Callable[..., Any], x: Any, seconded: bool = True, **given: Any) -> Case:
    """An operator of one value and constants."""
    name = " ".join([kind, *(f"{key}={value}" for key, value in given.items() if not isinstance(value, np.ndarray))])
    return Case(name, lambda x: getattr(mb, kind)(x=x, **given), (x,), expected, seconded)


def check(case: Case, folder: Path, target: str = "iOS18") -> None:
    """The interpreter's results are those expected, and coremltools' own where it has any."""
    package = read_package(saved_program(folder / "program.mlpackage", case.build, case.arrays, target))
    assert case.kind in package.function().histogram(), "the program has the operator that the case is about"
    found = list(Interpreter(package)(**{f"x{i}": array for i, array in enumerate(case.arrays)}).values())
    wanted = case.expected(*case.arrays)
    wanted = wanted if isinstance(wanted, tuple) else [wanted]
    seconds = inferred(case.build, case.arrays, target)
    assert len(found) == len(wanted) == len(seconds)
    for result, expectation, second in zip(found, wanted, seconds, strict=True):
        agree(result, np.asarray(expectation))
        assert (second is not None) == case.seconded, "whether coremltools computes it"
        if second is not None:
            agree(result, second)


def agree(found: Any, wanted: Any) -> None:
    assert found.shape == wanted.shape
    if found.dtype.kind != "f":
        np.testing.assert_array_equal(found, wanted)
        return
    scale = np.abs(wanted).max(initial=0) or 1.0
    assert np.abs(found - wanted).max(initial=0) <= ERROR * scale
