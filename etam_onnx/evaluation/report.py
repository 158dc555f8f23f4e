"""What an evaluation found, as JSON for machines and as a table for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .interactive import Interaction, Mode, mean_by_frames
from .scores import Score, mean_score
from .table import aligned_table

SequenceScores = Mapping[str, Mapping[int, Score]]  # sequence name -> object id -> score
SequenceRuns = Mapping[str, Mapping[int, Interaction]]  # sequence name -> object id -> interactive run


def scores_as_json(scores: SequenceScores) -> dict[str, Any]:
    """`{"sequences": {name: {object: {"J", "F"}}}, "mean": {"J", "F", "J&F"}}` in percent.

    The mean is over objects, each counting once, as in DAVIS 2017.
    """
    return {
        "sequences": {
            name: {str(object_id): {"J": score.j, "F": score.f} for object_id, score in objects.items()}
            for name, objects in scores.items()
        },
        "mean": _as_json(mean_over_objects(scores)),
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


def runs_as_json(runs: SequenceRuns) -> dict[str, Any]:
    """Interactive runs of one mode: as `scores_as_json` with the mean over 1, 2, ... frames as J and F of an
    object, its scores by number of frames beside them, and the means over objects as `by_frames`.
    """
    report = scores_as_json(_averaged(runs))
    for name, objects in runs.items():
        for object_id, run in objects.items():
            report["sequences"][name][str(object_id)] |= {
                "by_frames": [_as_json(score) for score in run.scores],
                "frames": list(run.frames),
                "clicks": list(run.clicks),
            }
    return report | {"by_frames": [_as_json(score) for score in mean_by_frames(_all_runs(runs))]}


def runs_as_table(by_mode: Mapping[Mode, SequenceRuns]) -> str:
    """One row per mode: J&F in percent after 1, 2, ... frames, and their mean."""
    rows: list[list[str | float]] = []
    count = 0
    for mode, runs in by_mode.items():
        means = mean_by_frames(_all_runs(runs))
        count = len(means)
        rows.append([mode, *(mean.j_and_f for mean in means), mean_over_objects(_averaged(runs)).j_and_f])
    numbers = [f"{number} frame{'s' if number > 1 else ''}" for number in range(1, count + 1)]
    return aligned_table(["J&F", *numbers, "mean"], rows)


def _averaged(runs: SequenceRuns) -> dict[str, dict[int, Score]]:
    return {
        name: {object_id: mean_score(run.scores) for object_id, run in objects.items()}
        for name, objects in runs.items()
    }


def _all_runs(runs: SequenceRuns) -> list[Interaction]:
    return [run for objects in runs.values() for run in objects.values()]


def _as_json(score: Score) -> dict[str, float]:
    return {"J": score.j, "F": score.f, "J&F": score.j_and_f}
