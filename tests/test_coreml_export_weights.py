"""Compressed weights in exported packages: the palettes, what is compressed, how far off it is, how small it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("coremltools", reason="coremltools is not installed")

from coreml_graphs import GRAPHS, recorded, source

from etam_onnx.conversion.coreml.compression import BITS, LEAST, OPERATORS, WEIGHTS
from etam_onnx.conversion.coreml.converter import converted
from etam_onnx.conversion.coreml.package_writer import write_package
from etam_onnx.conversion.coreml.packages import measured
from etam_onnx.conversion.coreml.palette import palette
from etam_onnx.conversion.coreml.reader import Literal, read_package

NAME = "memory_encoder"
ERROR = {"int8": 4e-2, "palette6": 8e-2}
"""Of the memory encoder of the small model; measured 6.1e-3 and 2.8e-2, with weights in half precision 1.6e-3."""
KINDS = {
    ("iOS17", "int8"): "constexpr_affine_dequantize",
    ("iOS18", "int8"): "constexpr_blockwise_shift_scale",
    ("iOS17", "palette6"): "constexpr_lut_to_dense",
    ("iOS18", "palette6"): "constexpr_lut_to_dense",
}


def best(values: np.ndarray, count: int) -> float:
    """Least sum of squared distances to `count` centres, by dynamic programming over sorted values."""
    ordered = np.sort(values.astype(np.float64))
    sums = np.concatenate(([0.0], np.cumsum(ordered)))
    squares = np.concatenate(([0.0], np.cumsum(ordered**2)))
    ends = np.arange(len(ordered) + 1)
    sizes = np.maximum(ends[None, :] - ends[:, None], 1)
    cost = squares[None, :] - squares[:, None] - (sums[None, :] - sums[:, None]) ** 2 / sizes  # of a group from, to
    cost[ends[:, None] > ends[None, :]] = np.inf
    least = cost[0]
    for _ in range(count - 1):
        least = (least[:, None] + cost).min(0)
    return float(least[-1])


@pytest.mark.parametrize("shape", ["normal", "uniform", "two clusters", "long tail"])
def test_a_palette_is_nearly_the_best_there_is(shape: str) -> None:
    rng = np.random.default_rng(4)
    values = {
        "normal": rng.standard_normal(400),
        "uniform": rng.uniform(-1, 1, 400),
        "two clusters": np.concatenate((rng.normal(-3, 0.1, 200), rng.normal(2, 0.5, 200))),
        "long tail": rng.standard_normal(400) ** 3,
    }[shape].astype(np.float32)
    table, indices = palette(values, 4)
    assert table.shape == (16,) and (np.diff(table) >= 0).all() and table.dtype == np.float32
    nearest = np.abs(values[:, None] - table).argmin(1)
    np.testing.assert_allclose(np.abs(values - table[indices]), np.abs(values - table[nearest]), rtol=1e-6)
    error = float(((values.astype(np.float64) - table[indices]) ** 2).sum())
    assert error < 1.25 * best(values, 16)  # measured 1.11 at most


def test_few_numbers_are_kept_as_they_are() -> None:
    values = np.float16([[0.5, -1, 0.25], [0.5, 0.5, -1]])
    table, indices = palette(values, BITS)
    assert table.dtype == np.float16 and indices.dtype == np.uint8 and len(table) == 64
    np.testing.assert_array_equal(table[indices].reshape(values.shape), values)
    table, indices = palette(np.zeros((2, 2), np.float16), BITS)
    assert not table.any() and not indices.any()


def test_a_palette_depends_on_nothing_but_the_values() -> None:
    values = np.random.default_rng(5).standard_normal((32, 9)).astype(np.float16)
    (first, indices), (second, others) = palette(values, BITS), palette(values.copy(order="F"), BITS)
    assert first.tobytes() == second.tobytes() and indices.tobytes() == others.tobytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of the memory encoder with weights in half precision."""
    path = tmp_path_factory.mktemp("whole") / "whole.mlpackage"
    write_package(converted(source(NAME), GRAPHS[NAME], "iOS17"), path)
    return path


def weights_size(package: Path) -> int:
    return (package / "Data/com.apple.CoreML/weights/weight.bin").stat().st_size


def error(package: Path, precision: str) -> float:
    errors, _ = measured(package, [GRAPHS[NAME]], recorded()[1], precision)
    assert all(edge.passed and edge.calls >= 10 for edge in errors)
    return max(edge.error for edge in errors)


@pytest.mark.parametrize(("system", "weights"), KINDS)
def test_weights_are_smaller_and_the_graph_follows_them(system: str, weights: str, whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "small.mlpackage"
    write_package(converted(source(NAME), GRAPHS[NAME], system, weights), path)
    assert weights_size(path) < {"int8": 0.58, "palette6": 0.48}[weights] * weights_size(whole)
    found = error(path, weights)
    assert error(whole, "fp16") < found < ERROR[weights]
    function, plain = read_package(path).function(), read_package(whole).function()
    compressed = [operation for operation in function.operations if operation.kind.startswith("constexpr")]
    assert {operation.kind for operation in compressed} == {KINDS[system, weights]}
    assert len(compressed) == sum(
        isinstance(literal, Literal) and literal.array.size > LEAST and literal.array.ndim == 4
        for operation in plain.operations
        for literal in operation.arguments.get("val", ())
    )
    names = {output.name for operation in compressed for output in operation.outputs}
    readers = {o.kind for o in function.operations for given in o.arguments.values() if names & set(named(given))}
    assert readers and readers <= set(OPERATORS)
    rest = {kind: count for kind, count in function.histogram().items() if not kind.startswith("constexpr")}
    assert rest == plain.histogram(), "nothing else changes; no pass runs again"


def named(arguments: tuple[Any, ...]) -> list[str]:
    return [argument for argument in arguments if isinstance(argument, str)]


def test_kinds_of_weights_have_a_tolerance() -> None:
    for graph in GRAPHS.values():
        assert set(WEIGHTS) <= set(graph.tolerance)
