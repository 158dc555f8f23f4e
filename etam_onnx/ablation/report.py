"""The table of an ablation, as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..evaluation.table import aligned_table
from .cost import PARTS, Cost
from .scoring import mean_over_objects
from .study import Result, result_as_json

NOTE = (
    "GFLOPs per frame of one object with all memories and pointers in place; a multiply-add counts as two; "
    "matrix products and convolutions only"
)


def results_as_table(results: Sequence[Result]) -> str:
    """One row per variant: J, F, J&F in percent, parameters in millions, GFLOPs in all and per part, milliseconds."""
    scored = any(result.scores for result in results)
    timed = any(result.cost.milliseconds is not None for result in results)
    header = ["variant", *(["J", "F", "J&F"] * scored), "parameters M", "GFLOPs"]
    header += [f"{name.replace('_', ' ')} GF" for name in PARTS] + ["ms"] * timed
    rows: list[list[str | float]] = []
    for result in results:
        cost = result.cost
        row: list[str | float] = [result.variant.label]
        if scored:
            mean = mean_over_objects(result.scores)
            row += [mean.j, mean.f, mean.j_and_f]
        row += [cost.parameters / 1e6, *(f"{value:7.2f}" for value in _gigaflops(cost))]
        if timed:
            row.append("-" if cost.milliseconds is None else cost.milliseconds)
        rows.append(row)
    return f"{aligned_table(header, rows)}\n{NOTE}"


def _gigaflops(cost: Cost) -> list[float]:
    """Of the whole frame, then of its parts."""
    return [cost.gigaflops, *(cost.flops[name] / 1e9 for name in PARTS)]


def results_as_json(results: Sequence[Result], settings: dict[str, Any]) -> dict[str, Any]:
    """Settings, and every variant with its mean and all single scores."""
    variants = []
    for result in results:
        entry = result_as_json(result)
        if result.scores:
            mean = mean_over_objects(result.scores)
            entry["mean"] = {"J": mean.j, "F": mean.f, "J&F": mean.j_and_f}
        variants.append(entry)
    return {"settings": settings, "flops": NOTE, "variants": variants}
