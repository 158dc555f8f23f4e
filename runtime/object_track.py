"""One object through a video: its prompts, its memory, and the answers that are not in memory yet."""

from __future__ import annotations

from dataclasses import dataclass, field

from .memory import MemoryBank, Remembered
from .pipeline import Array, Features, Memory
from .prompts import NO_POINTS, Points
from .segmenter import Prediction, Segmenter


@dataclass(frozen=True)
class Pending:
    """An answer whose memory has not been written.

    mask: (S/4, S/4) logits that the memory is made from (before hole filling on tracked frames).  prompted: it was
    prompted, so the mask is thresholded.  conditioning: it is to be remembered as a prompted frame.
    """

    output: Prediction
    mask: Array
    prompted: bool
    conditioning: bool


@dataclass
class ObjectTrack:
    """The state of one object.  Frames are numbers; `tracked` says in which direction (reverse) a frame was last
    visited.
    """

    bank: MemoryBank[Memory, Prediction]
    fill_hole_area: int = 0
    corrections_stick: bool = True
    points: dict[int, Points] = field(default_factory=dict)
    masks: dict[int, Array] = field(default_factory=dict)
    pending: dict[int, Pending] = field(default_factory=dict)
    tracked: dict[int, bool] = field(default_factory=dict)

    def output(self, frame: int) -> Prediction | None:
        """The latest answer on a frame, if any."""
        if frame in self.pending:
            return self.pending[frame].output
        entry = self.bank.prompted.get(frame) or self.bank.recent.get(frame)
        return entry.output if entry else None

    def click(self, segmenter: Segmenter, features: Features, frame: int, points: Points) -> None:
        """Answer points on a frame: alone if it is a first prompted frame, with memory if it was tracked before."""
        before, first = self.output(frame), self._is_first(frame)
        recall = None if first else self.bank.recall(frame, self.tracked[frame])
        answer = segmenter.segment(features, points, before.low_res if before else None, recall)
        self.points[frame] = points
        self.masks.pop(frame, None)
        self._await(segmenter, frame, answer, first)

    def paint(self, segmenter: Segmenter, features: Features, frame: int, mask: Array) -> None:
        """Take a 0/1 mask (S, S) as the answer on a frame."""
        answer = segmenter.accept_mask(features, mask)
        self.masks[frame] = mask
        self.points.pop(frame, None)
        self._await(segmenter, frame, answer, self._is_first(frame))

    def _is_first(self, frame: int) -> bool:
        """Whether a prompt there starts the object instead of correcting it: nothing was tracked, or no prompt is
        left to remember.
        """
        return frame not in self.tracked or not self.bank.prompted

    def _await(self, segmenter: Segmenter, frame: int, answer: Prediction, first: bool) -> None:
        filled = self._filled(segmenter, answer)
        self.pending[frame] = Pending(filled, filled.low_res, True, first or self.corrections_stick)

    def track(self, segmenter: Segmenter, features: Features, frame: int, reverse: bool = False) -> None:
        """Find the object on a frame without a prompt."""
        answer = segmenter.segment(features, NO_POINTS, recall=self.bank.recall(frame, reverse))
        self.pending[frame] = Pending(self._filled(segmenter, answer), answer.low_res, False, False)
        self.tracked[frame] = reverse

    def settle(self, segmenter: Segmenter, features: Features, frame: int) -> None:
        """Write the memory of a frame that is pending; of any other there is nothing to write."""
        waiting = self.pending.get(frame)
        if waiting is None:
            return
        # A prompted frame is not displaced by one that is not to be remembered as prompted.
        if waiting.conditioning or frame not in self.bank.prompted:
            memory = segmenter.memorize(features, waiting.mask, binarize=waiting.prompted)
            self.bank.store(frame, Remembered(memory, waiting.output), waiting.conditioning)
        del self.pending[frame]

    def forget_prompt(self, frame: int) -> None:
        """Withdraw the prompt of a frame: its answer, if it was remembered, counts as tracked from now on."""
        self.points.pop(frame, None)
        self.masks.pop(frame, None)
        self.pending.pop(frame, None)
        entry = self.bank.prompted.pop(frame, None)
        if entry is not None:
            self.bank.recent[frame] = entry
            self.tracked.pop(frame, None)

    def forget_passed(self, frame: int) -> None:
        """Drop what no frame after `frame` can read while tracking goes on forward, prompts of earlier frames
        included.
        """
        self.bank.forget_passed(frame)
        for by_frame in (self.points, self.masks, self.tracked):
            for t in [t for t in by_frame if t < frame]:
                del by_frame[t]

    def _filled(self, segmenter: Segmenter, answer: Prediction) -> Prediction:
        if self.fill_hole_area <= 0:
            return answer
        low_res = segmenter.fill_holes(answer.low_res, self.fill_hole_area)
        return Prediction(low_res, answer.pointer, answer.presence, answer.iou)
