"""The interpreter around its operators: rounding, declared types and shapes, what is refused, and how it is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("coreml_programs", reason="coremltools is not installed")

from coreml_programs import mb, saved_program

from etam_onnx.conversion.coreml.interpreter import Interpreter, Package, ProgramError, read_package
from etam_onnx.conversion.coreml.reader import Literal, Operation, TensorType

rng = np.random.default_rng(0)
X, Y = (rng.standard_normal((3, 4)).astype(np.float16) for _ in range(2))
WEIGHT = rng.standard_normal((5, 4)).astype(np.float16)


def half_program(x: Any, y: Any) -> Any:
    z = mb.exp(x=mb.mul(x=mb.add(x=x, y=y), y=np.float16(1.5)))
    return mb.linear(x=z, weight=WEIGHT, name="out")


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """A few operators in half precision."""
    return read_package(saved_program(tmp_path_factory.mktemp("half") / "half.mlpackage", half_program, [X, Y]))


def changed(package: Package, change: Callable[[Operation], Operation]) -> Package:
    """The same package with its operations changed, constants aside."""
    function = package.function()
    operations = tuple(op if op.kind == "const" else change(op) for op in function.operations)
    return replace(package, functions={function.name: replace(function, operations=operations)})


def test_each_result_is_rounded_to_its_declared_type(half: Package) -> None:
    with np.errstate(over="ignore"):
        z = np.exp((X + Y) * np.float16(1.5))  # in numpy's own half precision, rounded after each
    expected = (z.astype(np.float32) @ WEIGHT.T.astype(np.float32)).astype(np.float16)
    seen: dict[str, Any] = {}
    found = Interpreter(half).run({"x0": X, "x1": Y}, lambda kind, name, value: seen.update({kind: value}))
    np.testing.assert_array_equal(seen["add"], X + Y)
    np.testing.assert_allclose(seen["exp"], z, rtol=1e-3)  # one unit in the last place of half precision
    np.testing.assert_allclose(found["out"], expected, rtol=4e-3)
    np.testing.assert_array_equal(found["out"], found["out"].astype(np.float16))
    assert list(seen) == ["add", "mul", "exp", "linear"]


def test_without_rounding_values_stay_single(half: Package) -> None:
    x, y = (value.astype(np.float32) + np.float32(1e-5) for value in (X, Y))
    found = Interpreter(half, rounding=None)(x0=x, x1=y)["out"]
    wanted = np.exp((x.astype(float) + y) * 1.5) @ WEIGHT.T.astype(float)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    rounded = Interpreter(half)(x0=x, x1=y)["out"]
    np.testing.assert_array_equal(rounded, Interpreter(half)(x0=x.astype(np.float16), x1=y.astype(np.float16))["out"])
    assert np.abs(found - rounded).max() > 1e-4


def test_half_precision_overflows(half: Package) -> None:
    large = np.full_like(X, 60000)
    seen: dict[str, Any] = {}
    Interpreter(half).run({"x0": large, "x1": 0 * large}, lambda kind, name, value: seen.update({kind: value}))
    assert np.isfinite(seen["add"]).all() and np.isinf(seen["mul"]).all()
    with pytest.raises(ValueError, match="rounding is 'declared' or None, not 'half'"):
        Interpreter(half, rounding="half")  # type: ignore[arg-type]


def test_a_package_is_found_by_its_path(tmp_path: Path) -> None:
    path = saved_program(tmp_path / "p.mlpackage", lambda x: mb.relu(x=x, name="y"), [np.zeros((2, 3), np.float32)])
    relu = Interpreter(path)
    given = np.float32([[1, -2, 3], [-4, 5, -6]])
    given.flags.writeable = False
    result = relu(x0=given)["y"]
    np.testing.assert_array_equal(result, np.maximum(given, 0))
    result += 1  # belongs to the caller
    np.testing.assert_array_equal(relu(x0=given)["y"], np.maximum(given, 0))
    assert [value.name for value in relu.inputs] == ["x0"] and [value.name for value in relu.outputs] == ["y"]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"x0": X}, r"takes x0, x1, was given x0"),
        ({"x0": X, "x1": Y, "x2": Y}, r"takes x0, x1, was given x0, x1, x2"),
        ({}, r"takes x0, x1, was given nothing"),
        ({"x0": X, "x1": Y[:2]}, r"input x1 is declared fp16 \[3, 4\], was given float16 \[2, 4\]"),
        ({"x0": X, "x1": Y.astype(np.int32)}, r"input x1 is declared fp16 \[3, 4\], was given int32 \[3, 4\]"),
    ],
)
def test_inputs_that_do_not_fit(half: Package, inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        Interpreter(half)(**inputs)


def test_what_is_not_covered_is_refused_by_name_before_anything_runs(tmp_path: Path) -> None:
    def build(x: Any) -> Any:
        y = mb.conv(x=x, weight=np.ones((2, 2, 3, 3), np.float32), pad_type="same")
        y = mb.local_response_norm(x=y, size=2)
        y = mb.max_pool(x=y, kernel_sizes=[2, 2], pad_type="valid", ceil_mode=True)
        return mb.crop(x=y, crop_height=[1, 0], crop_width=[0, 1])

    path = saved_program(tmp_path / "p.mlpackage", build, [np.zeros((1, 2, 8, 8), np.float32)])
    with pytest.raises(ProgramError) as caught:
        Interpreter(path)
    assert str(caught.value) == (
        "p.mlpackage: function main: it uses what the interpreter does not cover: "
        "operator conv with pad_type same; operator crop; operator local_response_norm; "
        "operator max_pool with ceil_mode True"
    )


def test_control_flow_is_refused(tmp_path: Path) -> None:
    def build(x: Any) -> Any:
        positive = mb.greater(x=mb.reduce_sum(x=x, axes=[0]), y=np.float32(0))
        return mb.cond(pred=positive, _true_fn=lambda: mb.relu(x=x), _false_fn=lambda: mb.square(x=x))

    path = saved_program(tmp_path / "p.mlpackage", build, [np.ones(3, np.float32)])
    with pytest.raises(ProgramError, match=r"does not cover: operator cond$"):
        Interpreter(path)


def test_unknown_inputs_of_known_operators_are_refused(half: Package) -> None:
    def change(op: Operation) -> Operation:
        return replace(op, arguments={**op.arguments, "alpha": op.arguments["x"]}) if op.kind == "exp" else op

    with pytest.raises(ProgramError, match="does not cover: operator exp with input alpha"):
        Interpreter(changed(half, change))


def redeclared(kind: str, declared: TensorType) -> Callable[[Operation], Operation]:
    def change(op: Operation) -> Operation:
        if op.kind != kind:
            return op
        return replace(op, outputs=(replace(op.outputs[0], type=declared),))

    return change


def test_declared_types_are_held_against_the_operators(half: Package) -> None:
    with pytest.raises(ProgramError, match=r"add '.*' is declared fp32 \[3, 4\], its operator gives fp16"):
        Interpreter(changed(half, redeclared("add", TensorType("fp32", (3, 4)))))
    mixed = Literal(TensorType("fp32", ()), np.float32(1.5))

    def mix(op: Operation) -> Operation:
        return replace(op, arguments={**op.arguments, "y": (mixed,)}) if op.kind == "mul" else op

    with pytest.raises(ProgramError, match=r"mul '.*' mixes values of fp16 and fp32"):
        Interpreter(changed(half, mix))


def test_declared_shapes_are_held_against_the_results(half: Package) -> None:
    wrong = Interpreter(changed(half, redeclared("mul", TensorType("fp16", (4, 3)))))
    with pytest.raises(ProgramError, match=r"mul '.*' is declared fp16 \[4, 3\], its operator gives float32 \[3, 4\]"):
        wrong(x0=X, x1=Y)


def test_arguments_that_are_missing_or_too_many(half: Package) -> None:
    def lacking(op: Operation) -> Operation:
        return replace(op, arguments={"x": op.arguments["x"]}) if op.kind == "add" else op

    with pytest.raises(ProgramError, match=r"add '.*' is given 0 values for y"):
        Interpreter(changed(half, lacking))

    def twice(op: Operation) -> Operation:
        return replace(op, arguments={**op.arguments, "x": op.arguments["x"] * 2}) if op.kind == "add" else op

    with pytest.raises(ProgramError, match=r"add '.*' is given 2 values for x"):
        Interpreter(changed(half, twice))


def test_an_operator_that_fails_is_named(tmp_path: Path) -> None:
    path = saved_program(
        tmp_path / "p.mlpackage",
        lambda x: mb.gather(x=np.eye(3, dtype=np.float32), indices=x, name="rows"),
        [np.int32([0, 2])],
    )
    gather = Interpreter(path)
    np.testing.assert_array_equal(gather(x0=np.int32([2, 1]))["rows"], np.eye(3)[[2, 1]])
    with pytest.raises(ProgramError, match="gather 'rows' fails: indices reach from 1 to 3, there are 3 values"):
        gather(x0=np.int32([1, 3]))
    with pytest.raises(ProgramError, match="gather 'rows' fails: indices reach from -1 to 0, there are 3 values"):
        gather(x0=np.int32([-1, 0]))


@pytest.mark.parametrize("value", [1e10, -1e10, np.nan, np.inf])
def test_numbers_that_a_whole_number_cannot_hold(tmp_path: Path, value: float) -> None:
    path = saved_program(tmp_path / "p.mlpackage", lambda x: mb.cast(x=x, dtype="int32"), [np.zeros(2, np.float32)])
    with pytest.raises(ProgramError, match="fails: there are values that int32 cannot hold"):
        Interpreter(path)(x0=np.float32([0, value]))
