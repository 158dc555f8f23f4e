"""What a step does with its clips: the prompt, which frames are corrected and how often.

Drawn once per step, before anything is seen, so every process takes the same course and knows beforehand how many
decoded frames each term of the loss will be divided by.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .recipes import Losses, Prompting

KINDS = ("mask", "click", "box")
TERMS = ("mask", "iou", "presence")


@dataclass(frozen=True)
class Course:
    """`kind` of the first prompt, one of KINDS; `clicks` corrections on each frame (T,), the first included.

    `taught` (T,): whether memory is written from the true mask. `every_frame`: the kind of prompt that
    every frame is given by itself besides, or None.
    """

    kind: str
    clicks: tuple[int, ...]
    taught: tuple[bool, ...]
    every_frame: str | None = None

    def decodings(self) -> Iterator[tuple[int, float]]:
        """(frame index, weight) of everything that is decoded to be judged; a given mask is not."""
        frames = len(self.clicks)
        for index, clicks in enumerate(self.clicks):
            if index or self.kind != "mask":
                yield index, 1.0 + clicks
            if self.every_frame is not None:
                yield index, 1.0 / frames

    @property
    def every_frame_weight(self) -> float:
        """Prompting every frame weighs as much as one more tracked frame."""
        return 1.0 / len(self.clicks)


def draw_course(rng: np.random.Generator, frames: int, prompting: Prompting, taught: float = 0.0) -> Course:
    """The course of a step with clips of `frames` frames; `taught`: share of memories from true masks."""
    shares = np.array(prompting.shares if frames > 1 else (0.0, *prompting.shares[1:]))
    kind = KINDS[int(rng.choice(len(KINDS), p=shares / shares.sum()))]
    clicks = [0] * frames
    if kind == "click" or (kind == "box" and prompting.correct_boxes):
        clicks[0] = int(rng.choice(len(prompting.first_clicks), p=prompting.first_clicks))
    allowed = kind != "mask" or not prompting.later_after_points
    if frames > 2 and rng.uniform() < prompting.later_chance and allowed:
        for index in rng.choice(np.arange(1, frames), min(prompting.later_frames, frames - 1), replace=False):
            clicks[index] = prompting.later_clicks
    every = None
    if kind == "mask" and rng.uniform() < prompting.every_frame:
        every = "box" if rng.uniform() < 0.4 else "click"
    return Course(kind, tuple(clicks), tuple(bool(u < taught) for u in rng.uniform(size=frames)), every)


def divisors(course: Course, present: np.ndarray, losses: Losses) -> dict[str, float]:
    """What the sums of each term are divided by, for the objects whose presence is `present`, bool (N, T).

    To be added up over all clips of a step before dividing.
    """
    if losses.average == "objects":
        return dict.fromkeys(TERMS, float(len(present)))
    weights = np.zeros(present.shape[1])
    for index, weight in course.decodings():
        weights[index] += weight
    counts = dict.fromkeys(TERMS, float((present * weights).sum()))
    counts["presence"] = float(len(present) * weights.sum())
    if course.kind == "mask" and losses.mask_prompt:
        counts["mask"] += float(present[:, 0].sum())
        counts["presence"] += len(present)
    return counts
