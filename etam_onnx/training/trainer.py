"""One update of the model: the loss of a step's clips, its gradient over all processes, the optimiser's move."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..model import EfficientTAM, load_weights
from ..model.checkpoint import read_state
from .batch import Batch, visible
from .checkpoints import TrainingState
from .course import TERMS, Course, divisors, draw_course
from .matching import Matching, patches_seen
from .optimizer import clip_gradients, make_optimizer, set_rates
from .options import TrainingOptions
from .replicas import Replicas
from .schedule import StepPlan, average_decay, rate_factor, teaching
from .start import start_quietly
from .teacher import Distillation, Teacher
from .unroll import ClipLoss

if TYPE_CHECKING:
    from .clips import Clip


@contextmanager
def fast_attention() -> Iterator[None]:
    """Plain attention on the CPU: forward and backward of the fused kernel took 1.3 to 3.5 times as long there
    (bfloat16, one thread, five shapes of etam-nano, median of seven runs on one machine)."""
    before = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(before)


class Trainer:
    """Model, weight average and optimiser of a run. `step` does one update; it knows no clock."""

    def __init__(self, options: TrainingOptions, replicas: Replicas | None = None) -> None:
        self.options, self.recipe = options, options.adjusted_recipe()
        self.replicas = replicas or Replicas(options.device)
        self.device = self.replicas.device
        torch.manual_seed(options.seed)
        self.model = EfficientTAM(options.model_config)
        if options.weights is None:
            start_quietly(self.model)
        else:
            load_weights(self.model, read_state(options.weights), str(options.weights))
        self.taught = self.recipe.taught if options.weights is None else 0.0
        self.matching = Matching(self.model.config.width) if self.recipe.losses.matching else None
        self.teacher = self.distillation = None
        if options.teacher is not None and self.recipe.losses.teacher:
            self.teacher = Teacher(options.teacher, torch.get_num_threads())
            self.distillation = Distillation(self.model.config.width, self.teacher.channels)
        helpers = (self.matching, self.distillation)
        self.trained = nn.ModuleList([self.model, *(helper for helper in helpers if helper is not None)])
        self.trained.to(self.device)
        averaged = self.recipe.average > 0
        self.average: EfficientTAM = deepcopy(self.model).requires_grad_(False) if averaged else self.model
        self.optimizer = make_optimizer(self.trained, self.model.config.vit_depth, self.recipe.optimization)
        self.steps_done = 0

    def _precision(self) -> AbstractContextManager[None]:
        if not self.options.half:
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def _divisors(self, course: Course, clips: Sequence[tuple[int, Clip]]) -> dict[str, float]:
        """What the terms are divided by: counted over the clips of all processes."""
        counts = dict.fromkeys(TERMS, 0.0)
        if self.matching is not None:
            counts["matching"] = 0.0
        if self.teacher is not None:
            counts["teacher"] = float(sum((clip.frames.shape[1] // 16) ** 2 for _, clip in clips))
        for _, clip in clips:
            present = visible(clip.masks, self.recipe.losses.soft)
            for term, count in divisors(course, present, self.recipe.losses).items():
                counts[term] += count
            if self.matching is not None and clip.surfaces is not None:
                counts["matching"] += patches_seen(torch.from_numpy(clip.surfaces)[None])
        return dict(zip(counts, self.replicas.sum(list(counts.values())), strict=True))

    def _losses(
        self, plan: StepPlan, course: Course, clips: Sequence[tuple[int, Clip]], counts: dict[str, float]
    ) -> list[float]:
        """Adds the gradients of this process's clips, some at a time; returns its terms, then the overlap's sum
        and count."""
        rules = self.recipe.losses
        sums = torch.zeros(len(counts) + 2, dtype=torch.float64, device=self.device)
        at_once = self.options.at_once or len(clips)
        for start in range(0, len(clips), max(1, at_once)):
            batch = Batch.of(clips[start : start + at_once], plan, rules.soft, self.device)
            attention = fast_attention() if self.device.type == "cpu" else nullcontext()
            with attention, self._precision():
                part = ClipLoss(self.model, batch, course, rules, self.recipe.prompting, counts, self.matching)
                if self.teacher is not None and self.distillation is not None:
                    part.distil(self.distillation, self.teacher.features(batch.frames[:, 0]))
                part.run()
                loss = part.total()
            if loss.requires_grad:
                loss.backward()
            values = [*part.terms.values(), part.overlap_sum, part.overlap_count]
            sums += torch.stack([value.detach().double() for value in values])
        return self.replicas.sum(sums.tolist())

    def step(self, plan: StepPlan, clips: Sequence[tuple[int, Clip]], progress: float) -> dict[str, float]:
        """One update on this process's numbered clips of the plan; returns the terms of the loss of all.

        Raises FloatingPointError, before anything is changed, if the loss or its gradient is not finite.
        """
        factor = rate_factor(self.recipe.schedule, plan.step, progress)
        set_rates(self.optimizer, factor)
        taught = teaching(progress, self.taught)
        course = draw_course(plan.random(), len(plan.times), self.recipe.prompting, taught)
        self.optimizer.zero_grad(set_to_none=True)
        counts = self._divisors(course, clips)
        *terms, overlap, overlaps = self._losses(plan, course, clips, counts)
        loss = math.fsum(terms)
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"The loss of step {plan.step} is not finite; the run stops, its last checkpoint stays."
            )
        self.replicas.sum_gradients(list(self.trained.parameters()))
        norm = clip_gradients(self.trained.parameters(), self.recipe.optimization)
        if not math.isfinite(norm):
            raise FloatingPointError(
                f"The gradient of step {plan.step} is not finite; the run stops, its last checkpoint stays."
            )
        self.optimizer.step()
        if self.recipe.average:
            self._update_average(average_decay(plan.step, self.recipe.average))
        self.steps_done = plan.step + 1
        return {
            "loss": loss,
            **dict(zip(counts, terms, strict=True)),
            "overlap": overlap / overlaps if overlaps else float("nan"),
            "norm": norm,
            "rate": factor * self.recipe.optimization.rate,
        }

    @torch.no_grad()
    def _update_average(self, decay: float) -> None:
        torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)
        for mean, current in zip(self.average.buffers(), self.model.buffers(), strict=True):
            mean.copy_(current)

    def state(self, spent_seconds: float) -> TrainingState:
        return TrainingState(
            preset=self.options.preset,
            recipe=self.recipe.name,
            seed=self.options.seed,
            step=self.steps_done,
            spent_seconds=spent_seconds,
            model=self.model.state_dict(),
            matching={} if self.matching is None else self.matching.state_dict(),
            distillation={} if self.distillation is None else self.distillation.state_dict(),
            average=self.average.state_dict() if self.recipe.average else {},
            optimizer=self.optimizer.state_dict(),
            random=torch.get_rng_state(),
            settings=self.options.settings(),
        )

    def restore(self, state: TrainingState) -> None:
        self.model.load_state_dict(state.model)
        if self.matching is not None:
            self.matching.load_state_dict(state.matching)
        if self.distillation is not None:
            self.distillation.load_state_dict(state.distillation)
        if self.recipe.average:
            self.average.load_state_dict(state.average)
        full_rates = [group["full_rate"] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state.optimizer)
        for group, rate in zip(self.optimizer.param_groups, full_rates, strict=True):
            group["full_rate"] = rate  # of this run's options, should they differ
        self.steps_done = state.step
        torch.set_rng_state(state.random)

    def weights(self) -> dict[str, Tensor]:
        """The averaged weights, which are what is validated and shipped."""
        return self.average.state_dict()
