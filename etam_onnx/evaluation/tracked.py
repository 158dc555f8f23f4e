"""Scores of a tracker on one annotated sequence while it tracks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .conventions import Convention
from .scores import ObjectScore, SequenceScorer
from .sequences import AnnotatedSequence
from .worst_frames import WorstFrame, WorstFrames

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class TrackedSequence:
    """What a tracker reached.  objects: by id, without those of which no frame counts.  worst: frames to look at."""

    objects: Mapping[int, ObjectScore]
    worst: list[WorstFrame]


def score_tracked(
    sequence: AnnotatedSequence, masks: Iterable[Mapping[int, Mask]], convention: Convention
) -> TrackedSequence:
    """Score the masks of every frame of a sequence, in order, against its annotations.

    Args:
        masks: object id -> mask (H, W) per frame; frames without an annotation are passed over.
        convention: which annotated frames count.
    """
    scorer = SequenceScorer(convention, sequence.until)
    position_of = {frame: position for position, frame in enumerate(sequence.annotated_frames)}
    worst = WorstFrames(len(position_of))
    for frame, predicted in enumerate(masks):
        if frame not in position_of:
            continue
        found = scorer.add(frame, predicted, sequence.annotation(frame))
        if found and convention.counts(position_of[frame], len(position_of)):
            mean_j = 100 * sum(j for j, _ in found.values()) / len(found)
            worst.add(position_of[frame], frame, mean_j, predicted)
    return TrackedSequence(scorer.result(), worst.result())
