"""The error measure and its verdicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fake_networks import tiny_geometry

from etam_onnx.graphs.contract import contract
from etam_onnx.runtime.parity import on_host, relative_error, replay


def array(*values: float) -> Any:
    return np.asarray(values, np.float32)


def test_errors_are_relative_to_the_largest_magnitude_or_the_unit() -> None:
    assert relative_error(array(1, 9), array(1, 10)) == pytest.approx(0.1)
    assert relative_error(array(-1, 0.5), array(-2, 0.5)) == pytest.approx(0.5)
    assert relative_error(array(0.01, 0), array(0.02, 0), unit=1.0) == pytest.approx(0.01)
    assert relative_error(array(0, 0), array(0, 0)) == 0
    assert relative_error(array(0, 1), array(0, 0)) == np.inf


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_never_within_tolerance(bad: float) -> None:
    assert relative_error(array(1, bad), array(1, 2)) == np.inf
    assert relative_error(array(1, 2), array(1, bad)) == np.inf
    assert relative_error(array(1, bad), array(1, bad)) == np.inf


def test_another_shape_is_not_within_tolerance() -> None:
    assert relative_error(array(1, 2), array(1, 2)[None]) == np.inf


def test_replaying_reports_the_worst_of_each_port() -> None:
    graphs = contract(tiny_geometry())
    given = iter([array(1, 2), array(1, 2.00002), array(1, 2)])
    calls: list[Any] = [("memory_encoder", {"features": array(0)}, {"memory": array(1, 2)}) for _ in range(3)]
    (edge,) = replay(graphs, {"memory_encoder": lambda **_: {"memory": next(given)}}, calls, "fp32")
    assert (edge.graph, edge.port, edge.calls, edge.tolerance) == ("memory_encoder", "memory", 3, 1e-5)
    assert edge.error == pytest.approx(1e-5, rel=0.05)
    given = iter([array(1, np.nan), array(1, 2), array(1, 2)])
    (edge,) = replay(graphs, {"memory_encoder": lambda **_: {"memory": next(given)}}, calls, "fp32")
    assert not edge.passed


def test_handles_come_to_the_host() -> None:
    class Handle:
        def numpy(self) -> Any:
            return array(1, 2)

    np.testing.assert_array_equal(on_host(Handle()), array(1, 2))
    arrays = array(3)
    assert on_host(arrays) is arrays
