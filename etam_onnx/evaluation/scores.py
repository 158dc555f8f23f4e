"""Scores of a sequence: J and F per object, averaged over frames as DAVIS and SA-V do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .boundary import boundary_accuracy
from .label_maps import LabelMap, object_ids
from .region import region_similarity


@dataclass(frozen=True)
class Score:
    """Region similarity and boundary accuracy in percent."""

    j: float
    f: float

    @property
    def j_and_f(self) -> float:
        """Mean of the two, the figure leaderboards sort by."""
        return (self.j + self.f) / 2


def score_sequence(
    name: str, pairs: Iterable[tuple[LabelMap, LabelMap]], *, all_frames: bool = False
) -> dict[int, Score]:
    """J and F of every annotated object of one sequence.

    An object counts from the first frame whose annotation shows it; from there on a frame on which
    both masks are empty counts as perfect. Ids that are never annotated are ignored.

    Args:
        name: the sequence's name, for errors.
        pairs: (prediction, annotation) per annotated frame, in order; label maps (H, W).
        all_frames: score every frame. DAVIS and SA-V leave out the first, which gave the prompt,
            and the last; so does the default.

    Raises:
        ValueError: two label maps differ in size, nothing is annotated, or no frame is left to score.
    """
    known: dict[int, list[tuple[int, float, float]]] = {}
    n_frames = 0
    for index, (prediction, truth) in enumerate(pairs):
        n_frames += 1
        for object_id in object_ids(truth):
            known.setdefault(object_id, [])
        for object_id, rows in known.items():
            predicted, expected = prediction == object_id, truth == object_id
            j, f = region_similarity(predicted, expected), boundary_accuracy(predicted, expected)
            rows.append((index, j, f))
    if not known:
        raise ValueError(f"sequence {name}: no object is annotated on any of {n_frames} frames")
    kept = range(n_frames) if all_frames else range(1, n_frames - 1)
    scores = {}
    for object_id, rows in sorted(known.items()):
        values = [(j, f) for index, j, f in rows if index in kept]
        if values:
            j, f = (100 * float(mean) for mean in np.mean(values, axis=0))
            scores[object_id] = Score(j, f)
    if not scores:
        raise ValueError(
            f"sequence {name}: of {n_frames} frames nothing is left to score without the first and the last"
        )
    return scores


def mean_score(scores: Iterable[Score]) -> Score:
    """Plain mean of several scores; over objects, this is what DAVIS 2017 and SA-V report."""
    j, f = (float(mean) for mean in np.mean([(score.j, score.f) for score in scores], axis=0))
    return Score(j, f)
