"""How well a variant tracks: J and F on annotated sequences, or on synthetic clips that no training has seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..evaluation.conventions import CONVENTIONS, Convention
from ..evaluation.layouts import Dataset
from ..evaluation.scores import Score, SequenceScorer, mean_score
from ..evaluation.semi_supervised import track_sequence
from ..evaluation.sequences import AnnotatedSequence, Annotation
from ..evaluation.tracked import score_tracked
from ..model import EfficientTAM
from ..runtime.video_predictor import VideoPredictor
from ..torch_backend import torch_networks

HELD_OUT_SEED = 20_250_117
FRAME_GAP = 2

Track = Callable[[VideoPredictor], dict[int, Score]]


@dataclass(frozen=True)
class Exam:
    """Something to track.  frames: how many there are.  track: the scores of its objects with a predictor.  source: the
    folder it comes from, so that results of another one are not taken for its own.
    """

    name: str
    frames: int
    track: Track
    source: str = ""


def dataset_exams(dataset: Dataset) -> list[Exam]:
    """The annotated sequences of a data set, each object started from its first mask, scored by its convention."""
    return [
        Exam(
            sequence.name,
            len(sequence.frame_names),
            partial(_track_sequence, sequence, dataset.convention),
            str(sequence.image_folder.resolve()),
        )
        for sequence in dataset.sequences
    ]


def clip_exam(name: str, frames: NDArray[np.uint8], masks: NDArray[np.bool_], source: str = "") -> Exam:
    """A synthetic clip: frames (T, H, W, 3) uint8 RGB, masks (T, H, W) of one object visible on the first frame.

    As in DAVIS the first frame, which is given, and the last do not count.
    """
    return Exam(name, len(frames), partial(_track_clip, frames, masks), source)


def held_out_exams(data: Path, count: int, size: int, frames: int) -> list[Exam]:
    """The same clips every time, `size` pixels a side, made from what training leaves out.

    Raises:
        FileNotFoundError, ValueError: the folder is no data for training, or has no validation split.
    """
    from ..training.data import open_source

    source, folder = open_source(data, "val"), str(data.resolve())
    times = range(0, frames * FRAME_GAP, FRAME_GAP)
    clips = [source.make([HELD_OUT_SEED, index], size, times, 1) for index in range(count)]
    return [clip_exam(f"held-out-{index}", clip.frames, clip.masks[0], folder) for index, clip in enumerate(clips)]


def examine(
    model: EfficientTAM, exams: Sequence[Exam], progress: Callable[[int], object] = lambda frames: None
) -> dict[str, dict[int, Score]]:
    """Track every exam with a model; its scores by name and object, in percent.

    `progress` is told how many frames were done since.

    Raises:
        ValueError: an exam has no frame or object that counts.
    """
    predictor = VideoPredictor(torch_networks(model))
    scores = {}
    for exam in exams:
        scores[exam.name] = exam.track(predictor)
        if not scores[exam.name]:
            raise ValueError(f"sequence {exam.name}: there is no frame on which an object counts")
        progress(exam.frames)
    return scores


def mean_over_objects(scores: dict[str, dict[int, Score]]) -> Score:
    """Every object of every sequence counts once."""
    return mean_score(score for objects in scores.values() for score in objects.values())


def _track_sequence(sequence: AnnotatedSequence, convention: Convention, predictor: VideoPredictor) -> dict[int, Score]:
    tracked = score_tracked(sequence, track_sequence(predictor, sequence), convention)
    return {object_id: found.score for object_id, found in tracked.objects.items()}


def _track_clip(frames: NDArray[np.uint8], masks: NDArray[np.bool_], predictor: VideoPredictor) -> dict[int, Score]:
    scorer = SequenceScorer(CONVENTIONS["folders"])
    state = predictor.init_state(list(frames))
    predictor.add_new_mask(state, 0, 1, masks[0])
    for frame, _, logits in predictor.propagate_in_video(state):
        truth = {1: masks[frame]} if masks[frame].any() else {}
        scorer.add(frame, {1: logits[0, 0] > 0}, Annotation(truth))
    return {object_id: found.score for object_id, found in scorer.result().items()}
