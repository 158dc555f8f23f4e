"""Scores of a sequence: J and F per object and frame, and their means over the frames that count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..runtime.label_maps import LabelMap
from .boundary import boundary_accuracy
from .conventions import CONVENTIONS, Convention
from .region import region_similarity
from .sequences import Annotation, annotation_of

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Score:
    """Region similarity and boundary accuracy in percent."""

    j: float
    f: float

    @property
    def j_and_f(self) -> float:
        """Mean of the two, the figure leaderboards sort by."""
        return (self.j + self.f) / 2


@dataclass(frozen=True)
class ObjectScore:
    """One object of a sequence.  score: over the frames that count.  frames, j, f: all annotated frames since the
    object appeared and J and F there, percent; `counted` says which of them went into the score.
    """

    score: Score
    frames: tuple[int, ...]
    j: tuple[float, ...]
    f: tuple[float, ...]
    counted: tuple[bool, ...]


@dataclass(frozen=True)
class _Row:
    position: int
    frame: int
    j: float
    f: float
    in_truth: bool
    in_prediction: bool


@dataclass
class SequenceScorer:
    """Takes the annotated frames of one sequence in order.

    An object is known from the first annotation that shows it; from there on a frame on which both masks are
    empty counts as perfect. Objects that are never annotated are ignored. Where every object is annotated on
    frames of its own, the first and last frames are its own as well.

    Args:
        convention: which frames count.
        until: object id -> frame from which on it no longer counts.
    """

    convention: Convention
    until: Mapping[int, int] = field(default_factory=dict)
    _rows: dict[int, list[_Row]] = field(default_factory=dict)
    _annotated: set[int] = field(default_factory=set)
    _positions: int = 0
    _own_positions: dict[int, int] = field(default_factory=dict)

    def add(self, frame: int, predicted: Mapping[int, Mask], truth: Annotation) -> dict[int, tuple[float, float]]:
        """Compare the next annotated frame; returns J and F, 0..1, of the objects known by now.

        Args:
            frame: its number.
            predicted: object id -> mask (H, W); a missing object is an empty mask.
            truth: the annotation.

        Raises:
            ValueError: two masks differ in size.
        """
        self._annotated.update(truth.masks)
        found = {}
        for object_id in sorted(self._known(predicted, truth)):
            masks = predicted.get(object_id), truth.masks.get(object_id)
            j, f = compare(*masks, truth.void)
            in_prediction, in_truth = (mask is not None and bool(mask.any()) for mask in masks)
            position = self._positions if truth.about is None else self._own_positions.get(object_id, 0)
            if in_prediction or in_truth or object_id in self._rows:
                rows = self._rows.setdefault(object_id, [])
                rows.append(_Row(position, frame, j, f, in_truth, in_prediction))
                found[object_id] = (j, f)
        for object_id in truth.about or ():
            self._own_positions[object_id] = self._own_positions.get(object_id, 0) + 1
        self._positions += 1
        return found

    def _known(self, predicted: Mapping[int, Mask], truth: Annotation) -> set[int]:
        """The objects to compare on a frame."""
        known = self._annotated | set(self._rows)
        if self.convention.either:
            known |= set(predicted)
        return known if truth.about is None else known & truth.about

    def result(self) -> dict[int, ObjectScore]:
        """The score of every annotated object of which a frame counts."""
        scores = {}
        for object_id, rows in sorted(self._rows.items()):
            counted = self._counted(object_id, rows)
            kept = [(row.j, row.f) for row, counts in zip(rows, counted, strict=True) if counts]
            if object_id in self._annotated and kept:
                j, f = (100 * float(mean) for mean in np.mean(kept, axis=0))
                scores[object_id] = ObjectScore(
                    Score(j, f),
                    tuple(row.frame for row in rows),
                    tuple(100 * row.j for row in rows),
                    tuple(100 * row.f for row in rows),
                    tuple(counted),
                )
        return scores

    def _counted(self, object_id: int, rows: list[_Row]) -> list[bool]:
        rule = self.convention
        count = self._own_positions.get(object_id, self._positions)
        allowed = [rule.counts(row.position, count) for row in rows]
        if object_id in self.until:
            allowed = [counts and row.frame < self.until[object_id] for counts, row in zip(allowed, rows, strict=True)]
        if not rule.prompts:
            prompt = next((index for index, row in enumerate(rows) if row.in_truth), 0)
            allowed = [counts and index > prompt for index, counts in enumerate(allowed)]
        if rule.either:
            # The SA-V evaluator forgets what it skips: an object starts where a counting frame shows it.
            shown = [counts and (row.in_truth or row.in_prediction) for counts, row in zip(allowed, rows, strict=True)]
            start = shown.index(True) if True in shown else len(rows)
            allowed = [counts and index >= start for index, counts in enumerate(allowed)]
            if not any(counts and row.in_truth for counts, row in zip(allowed, rows, strict=True)):
                return [False] * len(rows)
        return allowed


def compare(predicted: Mask | None, truth: Mask | None, void: Mask | None = None) -> tuple[float, float]:
    """J and F, 0..1, of two masks (H, W), of which None is an empty one; `void` pixels are taken out of both.

    Raises:
        ValueError: the masks differ in size.
    """
    if void is not None:
        predicted, truth = (None if mask is None else mask & ~void for mask in (predicted, truth))
    if predicted is None and truth is None:
        return 1.0, 1.0
    predicted = np.zeros_like(truth) if predicted is None else predicted
    truth = np.zeros_like(predicted) if truth is None else truth
    assert predicted is not None and truth is not None
    return region_similarity(predicted, truth), boundary_accuracy(predicted, truth)


def score_sequence(
    name: str,
    pairs: Iterable[tuple[LabelMap, LabelMap]],
    *,
    all_frames: bool = False,
    convention: Convention | None = None,
) -> dict[int, Score]:
    """J and F of every annotated object of one sequence of label maps.

    Args:
        name: the sequence's name, for errors.
        pairs: (prediction, annotation) per annotated frame, in order; label maps (H, W).
        all_frames: score every frame, whatever the convention says.
        convention: which frames count; by default that of DAVIS 2016, without the first, which gave the
            prompt, and the last.

    Raises:
        ValueError: two label maps differ in size, nothing is annotated, or no frame is left to score.
    """
    rule = convention or CONVENTIONS["folders"]
    scorer = SequenceScorer(rule.with_all_frames() if all_frames else rule)
    count, annotated = 0, False
    for frame, (prediction, truth) in enumerate(pairs):
        annotation = annotation_of(truth, no_object=rule.no_object)
        scorer.add(frame, annotation_of(prediction).masks, annotation)
        count, annotated = count + 1, annotated or bool(annotation.masks)
    if not annotated:
        raise ValueError(f"sequence {name}: no object is annotated on any of {count} frames")
    scores = {object_id: found.score for object_id, found in scorer.result().items()}
    if not scores:
        raise ValueError(f"sequence {name}: of {count} frames nothing is left to score without the first and the last")
    return scores


def mean_score(scores: Iterable[Score]) -> Score:
    """Plain mean of several scores; over objects, this is what DAVIS 2017 and SA-V report."""
    j, f = (float(mean) for mean in np.mean([(score.j, score.f) for score in scores], axis=0))
    return Score(j, f)
