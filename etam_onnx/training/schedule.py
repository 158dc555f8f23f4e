"""How a run is spent: frame size, number and length of clips and learning rate, by progress.

Progress is the spent share of the budget, 0..1. The budget is minutes or steps; only steps make runs equal.
"""

import math
from dataclasses import dataclass

import numpy as np

PEAK_RATE = 7e-4
FLOOR = 0.01  # of the peak, at the end
WARM_UP_STEPS = 100
WEIGHT_DECAY = 0.05
LARGEST_GAP = 4
LARGEST_FIRST_GAP = 10


@dataclass(frozen=True)
class Stage:
    """Up to progress `until`: `size` pixels, about `frames` frames per step, in clips of `lengths`."""

    until: float
    size: int
    frames: int
    lengths: tuple[int, ...]
    chances: tuple[float, ...]


STAGES = (
    Stage(0.30, 128, 28, (3, 4, 6, 8), (0.6, 0.25, 0.1, 0.05)),
    Stage(0.75, 256, 14, (3, 4, 6, 8), (0.35, 0.35, 0.2, 0.1)),
    Stage(1.0, 384, 8, (3, 4, 5, 7), (0.4, 0.3, 0.2, 0.1)),
)


@dataclass(frozen=True)
class StepPlan:
    """What one step is made of: the seed of its clips, their number, frame size and frame times."""

    seed: int
    step: int
    size: int
    clips: int
    times: tuple[int, ...]
    rank: int = 0

    def random(self) -> np.random.Generator:
        """The random numbers of this step's prompts; nothing else may draw from them."""
        return np.random.default_rng([self.seed, self.step, 1, self.rank])


def stage_at(progress: float, stages: tuple[Stage, ...] = STAGES) -> Stage:
    return next((stage for stage in stages if progress < stage.until), stages[-1])


def draw_times(rng: np.random.Generator, length: int) -> tuple[int, ...]:
    """Frame times that start at 0.

    Some clips are consecutive frames, the others have gaps, so that every temporal row is trained; the first
    frame may lie further back, as the prompted one does in a long video.
    """
    consecutive = rng.uniform() < 0.4
    gaps = rng.integers(1, 2 if consecutive else LARGEST_GAP + 1, length - 1)
    if rng.uniform() < 0.3:
        gaps[0] = rng.integers(1, LARGEST_FIRST_GAP + 1)
    return (0, *(int(time) for time in np.cumsum(gaps)))


def plan_step(
    seed: int,
    step: int,
    progress: float,
    stages: tuple[Stage, ...] = STAGES,
    rank: int = 0,
    replicas: int = 1,
) -> StepPlan:
    """What process number `rank` of `replicas` trains on in a step; depends on the arguments alone.

    The processes share size and times, so that none waits long for another, and divide the clips.
    """
    rng = np.random.default_rng([seed, step, 0])
    stage = stage_at(progress, stages)
    length = int(rng.choice(stage.lengths, p=stage.chances))
    clips = max(1, round(stage.frames / replicas / length))
    return StepPlan(seed, step, stage.size, clips, draw_times(rng, length), rank)


def learning_rate(step: int, progress: float) -> float:
    """Linear warm-up over steps times a cosine over progress."""
    cosine = FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return PEAK_RATE * min(1.0, (step + 1) / WARM_UP_STEPS) * cosine


def teaching(progress: float) -> float:
    """Share of the frames whose memory is written from the true mask: all at first, none from 0.4 on."""
    return max(0.0, 1 - progress / 0.4)


def average_decay(step: int) -> float:
    """Decay of the weight average: short at first, 0.998 in the long run."""
    return min(0.998, (1 + step) / (10 + step))
