"""What an evaluation found, as JSON for machines and as a table for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .scores import Score, mean_score
from .table import aligned_table

SequenceScores = Mapping[str, Mapping[int, Score]]  # sequence name -> object id -> score


def scores_as_json(scores: SequenceScores) -> dict[str, Any]:
    """`{"sequences": {name: {object: {"J", "F"}}}, "mean": {"J", "F", "J&F"}}` in percent.

    The mean is over objects, each counting once, as in DAVIS 2017.
    """
    mean = mean_over_objects(scores)
    return {
        "sequences": {
            name: {str(object_id): {"J": score.j, "F": score.f} for object_id, score in objects.items()}
            for name, objects in scores.items()
        },
        "mean": {"J": mean.j, "F": mean.f, "J&F": mean.j_and_f},
    }


def scores_as_table(by_method: Mapping[str, SequenceScores]) -> str:
    """One row per sequence and a last one for the mean over objects; J and F in percent per method."""
    methods = list(by_method)
    header = [
        "sequence",
        "objects",
        *(f"{method} {measure}".strip() for method in methods for measure in "JF"),
    ]
    rows: list[list[str | float]] = []
    for name, objects in by_method[methods[0]].items():
        means = [mean_score(by_method[method][name].values()) for method in methods]
        rows.append([name, str(len(objects)), *(value for mean in means for value in (mean.j, mean.f))])
    totals = [mean_over_objects(by_method[method]) for method in methods]
    n_objects = sum(len(objects) for objects in by_method[methods[0]].values())
    rows.append(["mean", str(n_objects), *(value for mean in totals for value in (mean.j, mean.f))])
    return aligned_table(header, rows)


def mean_over_objects(scores: SequenceScores) -> Score:
    """Mean over the objects of all sequences, percent."""
    return mean_score(score for objects in scores.values() for score in objects.values())
