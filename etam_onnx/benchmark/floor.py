"""The arithmetic floor: how long the multiply-adds of a graph would take at the speed of plain matrix products.

The speed is that of float32 products in ONNX Runtime on the same threads, measured in turns with everything else.  What
a graph computes is counted in its file; here are only the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from .rounds import Measured, Round

NAME = "matrix products"
"""Of the process that measures the speed."""


@dataclass(frozen=True)
class Products:
    """Float32 products to measure the speed with.  model: an ONNX file's content.  multiply_adds: of one call."""

    name: str
    multiply_adds: int
    model: bytes


@dataclass(frozen=True)
class Floor:
    """What is known before anything is measured.

    products: of several shapes; the speed is that of the fastest.  counts: variant, graph, and its ``multiply_adds``,
    those ``in_integers``, and all ``by_operator``.
    """

    products: tuple[Products, ...]
    counts: Mapping[str, Mapping[str, dict[str, Any]]]


def speed_as_json(floor: Floor, measured: Measured, objects: int, unmeasured: int = 0) -> dict[str, Any]:
    """GFLOP/s beside the runs with so many objects: medians for every shape, and of these the fastest.

    ``fastest_gflop_per_s`` is that of the fastest single call.  Where it is far above, something else took the cores,
    and times are less of the floor than they would be alone.
    """
    rounds = measured.rounds[unmeasured:]
    by_shape = {one.name: _speed(one, rounds) for one in floor.products}
    by_round = [max(_speed(one, [round_]) for one in floor.products) for round_ in rounds]
    return {
        "objects": objects,
        "threads": measured.contender.threads,
        "gflop_per_s": max(by_shape.values()),
        "gflop_per_s_by_round": by_round,
        "gflop_per_s_by_shape": by_shape,
        "fastest_gflop_per_s": max(_speed(one, rounds, min) for one in floor.products),
    }


def with_floor(run: dict[str, Any], counts: Mapping[str, dict[str, Any]], speed: dict[str, Any]) -> dict[str, Any]:
    """A run of `run_as_json` with the multiply-adds of its graphs and how many times the floor they take.

    Args:
        run: of the variant that was counted.
        counts: of each of its graphs.
        speed: measured beside it, of `speed_as_json`.
    """
    peak = speed["gflop_per_s"]
    graphs = {
        name: {
            **part,
            "gflop_in_integers": 2e-9 * counts[name]["in_integers"],
            **_against(gflop(counts[name]), part["call_median_ms"], peak),
        }
        for name, part in run["graphs"].items()
    }
    of_a_frame = sum(gflop(counts[name]) * part["calls_per_frame"] for name, part in run["graphs"].items())
    together = {
        **run["graphs_together"],
        **_against(of_a_frame, run["graphs_together"]["median_ms"], peak),
        "times_floor_by_round": [
            _against(of_a_frame, entry["graphs_median_ms"], pace)["times_floor"]
            for entry, pace in zip(run["rounds"], speed["gflop_per_s_by_round"], strict=True)
        ],
    }
    frame = {**run["frame"], **_against(of_a_frame, run["frame"]["median_ms"], peak)}
    return {**run, "frame": frame, "graphs": graphs, "graphs_together": together}


def gflop(count: Mapping[str, Any]) -> float:
    """10^9 operations of a call; a multiply-add is two."""
    return 2e-9 * float(count["multiply_adds"])


def _against(work: float, ms: float | None, peak: float) -> dict[str, float | None]:
    """`work` in GFLOP, done in `ms`, where plain products get `peak` GFLOP/s."""
    floor = 1000 * work / peak
    return {
        "gflop": work,
        "gflop_per_s": 1000 * work / ms if ms else None,
        "floor_ms": floor,
        "times_floor": ms / floor if ms and floor else None,
    }


def _speed(products: Products, rounds: Sequence[Round], middle: Callable[[Sequence[float]], float] = median) -> float:
    seconds = [frame.parts[products.name] for round_ in rounds for frame in round_.frames]
    return 2e-9 * products.multiply_adds / middle(seconds)
