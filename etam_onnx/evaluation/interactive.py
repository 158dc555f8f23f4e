"""Promptable video segmentation (SAM 2, section 6.1): someone watches the result and clicks where it is wrong.

Offline, the whole video is segmented, the frame with the lowest IoU gets three clicks, the whole video is
segmented again, and so on. Online, the video is seen once: it pauses at the first frame whose IoU falls below a
threshold, three clicks are given there, and it goes on from there. Each object is a run of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from .conventions import Convention
from .scores import Score, SequenceScorer, mean_score
from .semi_supervised import click_object
from .sequences import AnnotatedSequence, Annotation

if TYPE_CHECKING:
    from .. import VideoPredictor
    from ..runtime.video import Frame

    FrameSource = Sequence[Frame]

Mask = NDArray[np.bool_]
Mode = Literal["offline", "online"]
MODES: tuple[Mode, ...] = ("offline", "online")
CLICKS_PER_FRAME = 3
MOST_FRAMES = 8
PAUSE_BELOW = 0.75


@dataclass(frozen=True)
class Interaction:
    """One object's run.  frames: the frames clicked on, in that order.  clicks: how many on each.
    scores: after 1, 2, ... frames; where nothing was left to correct the last score is repeated.
    """

    frames: tuple[int, ...]
    clicks: tuple[int, ...]
    scores: tuple[Score, ...]


def interact(
    predictor: VideoPredictor,
    sequence: AnnotatedSequence,
    convention: Convention,
    mode: Mode,
    most_frames: int = MOST_FRAMES,
) -> Iterator[tuple[int, Interaction]]:
    """(object id, its run) for each annotated object of which a frame counts.

    The first frame is the object's first annotated one. The scores are over the same frames as in
    semi-supervised segmentation, so that one frame of three clicks equals the prompt `clicks3` there.

    Args:
        convention: which annotated frames count.
        most_frames: frames that may be clicked on.

    Raises:
        ValueError: the annotations show no object, or are not as large as the frames.
    """
    first = sequence.first_masks()
    state = predictor.init_state(cast("FrameSource", sequence.frames))
    for start, masks in first.items():
        for object_id in masks:
            predictor.reset_state(state)
            run = _Run(predictor, state, sequence, convention, object_id, start)
            found = run.interact(mode, most_frames)
            if found is not None:
                yield object_id, found


def mean_by_frames(runs: list[Interaction]) -> list[Score]:
    """Mean over objects after 1, 2, ... frames."""
    return [mean_score(scores) for scores in zip(*(run.scores for run in runs), strict=True)]


class _Run:
    """One object: what is predicted for it on each annotated frame, and how good that is."""

    def __init__(
        self,
        predictor: VideoPredictor,
        state: Any,
        sequence: AnnotatedSequence,
        convention: Convention,
        object_id: int,
        start: int,
    ) -> None:
        self.predictor = predictor
        self.state = state
        self.sequence = sequence
        self.convention = convention
        self.object_id = object_id
        self.start = start
        self.iou: dict[int, float] = {}
        self.packed: dict[int, NDArray[np.uint8]] = {}

    def interact(self, mode: Mode, most_frames: int) -> Interaction | None:
        frames: list[int] = []
        clicks: list[int] = []
        scores: list[Score] = []
        chosen: int | None = self.start
        while chosen is not None and len(frames) < most_frames:
            truth = self._truth(chosen)
            assert truth is not None  # only frames that say something of the object are chosen
            given = click_object(
                self.predictor,
                self.state,
                chosen,
                self.object_id,
                truth.masks.get(self.object_id, np.zeros(self.sequence.size_hw, np.bool_)),
                CLICKS_PER_FRAME,
                before=self._predicted(chosen) if frames else None,
                void=truth.void,
            )
            frames.append(chosen)
            clicks.append(len(given))
            self._propagate(self.start if mode == "offline" else chosen)
            score = self._score()
            if score is None:
                return None
            scores.append(score)
            chosen = self._worst(frames) if mode == "offline" else self._first_lost(chosen)
        scores += scores[-1:] * (most_frames - len(scores))
        return Interaction(tuple(frames), tuple(clicks), tuple(scores))

    def _propagate(self, start: int) -> None:
        annotated = set(self.sequence.annotated_frames)
        for frame, ids, logits_n1hw in self.predictor.propagate_in_video(self.state, start_frame_idx=start):
            truth = self._truth(frame) if frame in annotated else None
            if truth is not None:
                mask = logits_n1hw[ids.index(self.object_id), 0] > 0
                self.packed[frame] = np.packbits(mask)
                self.iou[frame] = self._iou(mask, truth)

    def _iou(self, mask: Mask, truth: Annotation) -> float:
        expected = truth.masks.get(self.object_id, np.zeros_like(mask))
        outside = mask if truth.void is None else mask & ~truth.void
        union = np.count_nonzero(outside | expected)
        return np.count_nonzero(outside & expected) / union if union else 1.0

    def _score(self) -> Score | None:
        scorer = SequenceScorer(self.convention, self.sequence.until)
        for frame in self.sequence.annotated_frames:
            truth = self._truth(frame)
            predicted = {self.object_id: self._predicted(frame)} if frame in self.packed else {}
            # A frame that says nothing of this object still counts as one of the video's.
            scorer.add(frame, predicted, truth or Annotation({}, about=frozenset()))
        found = scorer.result().get(self.object_id)
        return None if found is None else found.score

    def _worst(self, taken: list[int]) -> int | None:
        """The frame with the lowest IoU that has not been clicked on; None where all others are perfect."""
        left = {frame: iou for frame, iou in self.iou.items() if frame not in taken and iou < 1}
        return min(left, key=lambda frame: (left[frame], frame), default=None)

    def _first_lost(self, after: int) -> int | None:
        """The first frame after one at which the video pauses."""
        return next((frame for frame in sorted(self.iou) if frame > after and self.iou[frame] < PAUSE_BELOW), None)

    def _truth(self, frame: int) -> Annotation | None:
        return self.sequence.annotation(frame).only(self.object_id)

    def _predicted(self, frame: int) -> Mask:
        height, width = self.sequence.size_hw
        bits = np.unpackbits(self.packed[frame], count=height * width)
        return bits.reshape(height, width).astype(np.bool_)
