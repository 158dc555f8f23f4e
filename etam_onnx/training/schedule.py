"""How a run is spent: what each step trains on and at which rate, by seed, step and progress alone.

Progress is the spent share of the budget, 0..1. The budget is minutes or steps; only steps make runs equal.
"""

import math
from dataclasses import dataclass

import numpy as np

from .recipes import Recipe, Schedule, Stage

# Numbers that follow (seed, step) in the seeds of one step; each kind of draw has its own.
_PLAN, _COURSE, _CLIP, _PROMPT = 0, 1, 2, 3


@dataclass(frozen=True)
class StepPlan:
    """What one step of all processes is made of: the seed of its clips, their number, frame size and times.

    Clips are numbered 0 .. clips - 1; process `rank` of `replicas` takes every `replicas`-th, so what is
    trained on does not depend on how many processes share it.
    """

    seed: int
    step: int
    size: int
    clips: int
    times: tuple[int, ...]
    objects: int = 1

    def clip_seed(self, clip: int) -> list[int]:
        return [self.seed, self.step, _CLIP, clip]

    def random(self) -> np.random.Generator:
        """The random numbers of what all clips of the step share."""
        return np.random.default_rng([self.seed, self.step, _COURSE])

    def prompt_random(self, clip: int, number: int) -> np.random.Generator:
        """The random numbers of the prompts of object `number` of a clip; nothing else draws from them."""
        return np.random.default_rng([self.seed, self.step, _PROMPT, clip, number])

    def share(self, rank: int, replicas: int) -> range:
        """The clips of one process; may be empty."""
        return range(rank, self.clips, replicas)


def stage_at(progress: float, stages: tuple[Stage, ...]) -> Stage:
    return next((stage for stage in stages if progress < stage.until), stages[-1])


def draw_times(rng: np.random.Generator, length: int, recipe: Recipe) -> tuple[int, ...]:
    """Frame times that start at 0.

    Some clips are consecutive frames, the others have gaps, so that every temporal row is trained; the first
    frame may lie further back, as the prompted one does in a long video.
    """
    consecutive = rng.uniform() < recipe.consecutive
    gaps = rng.integers(1, 2 if consecutive else recipe.largest_gap + 1, length - 1)
    if length > 1 and rng.uniform() < 0.3 and recipe.largest_first_gap > 1:
        gaps[0] = rng.integers(1, recipe.largest_first_gap + 1)
    return (0, *(int(time) for time in np.cumsum(gaps)))


def plan_step(
    seed: int, step: int, progress: float, recipe: Recipe, image_size: int, fine_tuning: bool = False
) -> StepPlan:
    """What a step trains on; depends on the arguments alone. `image_size`: the largest frames, in pixels."""
    rng = np.random.default_rng([seed, step, _PLAN])
    stage = stage_at(progress, recipe.stages_for(fine_tuning))
    length = int(rng.choice(stage.lengths, p=stage.chances))
    objects = recipe.objects[0] if length == 1 else recipe.objects[1]
    times = draw_times(rng, length, recipe)
    return StepPlan(seed, step, stage.size(image_size), stage.clips_of(length), times, objects)


def rate_factor(schedule: Schedule, step: int, progress: float) -> float:
    """The factor on all learning rates: linear warm-up times the curve of the schedule."""
    progress = min(1.0, progress)
    factor = 1.0
    if schedule.warm_up_steps:
        factor = min(1.0, (step + 1) / schedule.warm_up_steps)
    if schedule.warm_up:
        factor = min(factor, progress / schedule.warm_up)
    if schedule.kind == "cosine":
        return factor * (schedule.floor + (1 - schedule.floor) * 0.5 * (1 + math.cos(math.pi * progress)))
    factor /= math.sqrt(max(1.0, progress / schedule.timescale))
    return factor * min(1.0, (1 - progress) / schedule.cool_down) if schedule.cool_down else factor


def teaching(progress: float, until: float) -> float:
    """Share of the frames whose memory is written from the true mask: all at first, none from `until` on."""
    return max(0.0, 1 - progress / until) if until else 0.0


def average_decay(step: int, largest: float) -> float:
    """Decay of the weight average: short at first, `largest` in the long run."""
    return min(largest, (1 + step) / (10 + step))
