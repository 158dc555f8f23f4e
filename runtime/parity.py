"""Comparing what a graph gave with what it should give: the error measure and its verdict per port."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..graphs.contract import Graph
from .backend import Handle, Runner


def relative_error(found: NDArray[np.float32], expected: NDArray[np.float32], unit: float = 0.0) -> float:
    """max|a - b| / max(max|b|, unit), infinite if a value of either is not finite or the shapes differ."""
    if found.shape != expected.shape or not (np.isfinite(found).all() and np.isfinite(expected).all()):
        return float("inf")
    scale = max(float(np.abs(expected).max()), unit)
    difference = float(np.abs(found - expected).max())
    return difference / scale if scale else (0.0 if difference == 0 else float("inf"))


def on_host(handle: Handle) -> NDArray[np.float32]:
    """A handle of any backend as an array."""
    return handle if isinstance(handle, np.ndarray) else np.asarray(handle.numpy())


@dataclass(frozen=True)
class EdgeError:
    """The largest error of one output port over all calls of its graph."""

    graph: str
    port: str
    calls: int
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the error is within tolerance."""
        return self.error <= self.tolerance


Inputs = Mapping[str, NDArray[np.float32]]


def replay(
    graphs: Mapping[str, Graph],
    runners: Mapping[str, Runner],
    calls: Iterable[tuple[str, Inputs, Inputs]],
    precision: str,
) -> list[EdgeError]:
    """Run recorded calls again, each on its recorded inputs, and compare every output.

    Args:
        graphs: the contract.
        runners: what to test.
        calls: graph name, inputs and expected outputs by port.
        precision: key of the contract's tolerances.
    """
    worst: dict[tuple[str, str], tuple[int, float]] = {}
    unit = {(graph.name, port.name): port.unit for graph in graphs.values() for port in graph.outputs}
    for name, inputs, outputs in calls:
        found = runners[name](**inputs)
        for port, expected in outputs.items():
            count, error = worst.get((name, port), (0, 0.0))
            worst[name, port] = (
                count + 1,
                max(error, relative_error(on_host(found[port]), expected, unit[name, port])),
            )
    return [
        EdgeError(name, port, count, error, graphs[name].tolerance[precision])
        for (name, port), (count, error) in sorted(worst.items())
    ]
