"""The training run: steps until the budget is spent, with validation and checkpoints on the way."""

import csv
import math
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..config import CONFIGS
from ..model import EfficientTAM, build_model
from .checkpoints import TrainingState, load_state, save_state, save_weights
from .feed import Feed
from .images import load_images
from .replicas import Replicas
from .schedule import STAGES, WEIGHT_DECAY, Stage, StepPlan, average_decay, learning_rate, plan_step, teaching
from .start import start_quietly
from .unroll import Batch, ClipLoss, draw_kind
from .validation import validate, validation_clips

LARGEST_NORM = 1.0  # of a gradient, of each tensor and then of all


@dataclass(frozen=True)
class TrainingOptions:
    """One run. Exactly one of `minutes` and `steps` is the budget."""

    data: Path
    output: Path
    preset: str = "etam-nano"
    minutes: float | None = None
    steps: int | None = None
    seed: int = 0
    resume: bool = False
    half: bool = True
    stages: tuple[Stage, ...] = STAGES
    save_every: float = 180.0  # seconds
    validate_every: float = 540.0  # seconds
    validation_clips: int = 24
    validation_frames: int = 12
    report_every: int = 50  # steps

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise ValueError("A training run needs a budget: either minutes or steps.")
        if (self.minutes or self.steps or 0) <= 0:
            raise ValueError("The budget of a training run must be positive.")
        if self.preset not in CONFIGS:
            raise ValueError(f"There is no preset {self.preset!r}; there are: {', '.join(CONFIGS)}.")


def make_optimizer(model: nn.Module) -> torch.optim.AdamW:
    """AdamW; biases, norms and embeddings of one row are not decayed."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.squeeze().dim() > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in parameters if p.squeeze().dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98))


class Trainer:
    """Model, weight average and optimiser of a run. `step` does one update; it knows no clock."""

    def __init__(self, options: TrainingOptions, replicas: Replicas | None = None) -> None:
        self.options = options
        self.replicas = replicas or Replicas()
        torch.manual_seed(options.seed)
        self.model: EfficientTAM = build_model(options.preset)
        start_quietly(self.model)
        self.average: EfficientTAM = deepcopy(self.model).requires_grad_(False)
        self.optimizer = make_optimizer(self.model)
        self.steps_done = 0

    def step(self, plan: StepPlan, frames: np.ndarray, masks: np.ndarray, progress: float) -> dict[str, float]:
        """One update; returns the terms of the loss. Raises FloatingPointError if the loss is not finite."""
        rate = learning_rate(plan.step, progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        rng = plan.random()
        kind, corrected = draw_kind(rng, len(plan.times))
        batch = Batch(torch.from_numpy(frames), torch.from_numpy(masks), plan.times)
        with torch.autocast("cpu", torch.bfloat16) if self.options.half else nullcontext():
            clip_loss = ClipLoss(self.model, batch, rng, teaching(progress)).run(kind, corrected)
            loss = clip_loss.total()
        (mean_loss,) = self.replicas.mean([float(loss.detach())])
        if not math.isfinite(mean_loss):
            raise FloatingPointError(
                f"The loss of step {plan.step} is not finite; the run stops, its last checkpoint stays."
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.replicas.average_gradients(list(self.model.parameters()))
        for parameter in self.model.parameters():
            # A channel norm over few channels now and then gives one tensor a gradient thousands of times too
            # large; clipped only together with all others, it would wipe them out.
            nn.utils.clip_grad_norm_(parameter, LARGEST_NORM)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), LARGEST_NORM)
        if not math.isfinite(float(norm)):
            raise FloatingPointError(
                f"The gradient of step {plan.step} is not finite; the run stops, its last checkpoint stays."
            )
        self.optimizer.step()
        self._update_average(average_decay(plan.step))
        self.steps_done = plan.step + 1
        terms = {name: float(torch.stack(values).mean().detach()) for name, values in clip_loss.terms.items()}
        return {
            "loss": float(loss.detach()),
            **terms,
            "overlap": clip_loss.overlap(),
            "norm": float(norm),
            "rate": rate,
        }

    @torch.no_grad()
    def _update_average(self, decay: float) -> None:
        torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)
        for mean, current in zip(self.average.buffers(), self.model.buffers(), strict=True):
            mean.copy_(current)

    def state(self, spent_seconds: float) -> TrainingState:
        return TrainingState(
            preset=self.options.preset,
            seed=self.options.seed,
            step=self.steps_done,
            spent_seconds=spent_seconds,
            model=self.model.state_dict(),
            average=self.average.state_dict(),
            optimizer=self.optimizer.state_dict(),
            random=torch.get_rng_state(),
        )

    def restore(self, state: TrainingState) -> None:
        self.model.load_state_dict(state.model)
        self.average.load_state_dict(state.average)
        self.optimizer.load_state_dict(state.optimizer)
        self.steps_done = state.step
        torch.set_rng_state(state.random)

    def weights(self) -> dict[str, Tensor]:
        """The averaged weights, which are what is validated and shipped."""
        return self.average.state_dict()


def _append(path: Path, row: dict[str, object]) -> None:
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


def run_training(options: TrainingOptions, report: Callable[[str], None] = print) -> Path:
    """Trains until the budget is spent; returns the file of weights, `<output>/<preset>.pt`.

    Beside it lie `state.pt` (for resuming), `steps.csv` and `validation.csv`. `report` gets single lines.
    """
    return Run(options, report).finish()


class Run:
    """A training run in progress: clock, logs and files around a Trainer."""

    def __init__(self, options: TrainingOptions, report: Callable[[str], None]) -> None:
        self.options = options
        self.replicas = Replicas()
        self.report = report if self.replicas.leads else lambda line: None
        self.trainer = Trainer(options, self.replicas)
        self.spent_before = 0.0
        if options.resume:
            state = load_state(options.output, options.preset, options.seed)
            self.trainer.restore(state)
            self.spent_before = state.spent_seconds
        count = len(load_images(options.data, "train"))
        size = self.trainer.model.config.image_size
        self.held_out = validation_clips(
            load_images(options.data, "val"), options.validation_clips, size, options.validation_frames
        )
        options.output.mkdir(parents=True, exist_ok=True)
        self.weights_file = options.output / f"{options.preset}.pt"
        self.report(
            f"{options.preset}: {count} training images, {len(self.held_out)} held-out clips, "
            f"{self.replicas.count} process(es), from step {self.trainer.steps_done}."
        )
        self.started = time.monotonic()
        self.recent: list[dict[str, float]] = []

    def spent(self) -> float:
        """Seconds of this run, those before it was stopped and resumed included."""
        return self.spent_before + time.monotonic() - self.started

    def progress(self, step: int, seconds: float) -> float:
        if self.options.steps is not None:
            return min(1.0, step / self.options.steps)
        return min(1.0, seconds / (60 * (self.options.minutes or 0)))

    def plan(self, step: int) -> StepPlan:
        progress = self.progress(step, self.spent())
        return plan_step(
            self.options.seed, step, progress, self.options.stages, self.replicas.rank, self.replicas.count
        )

    def save(self) -> None:
        if self.replicas.leads:
            save_weights(self.trainer.weights(), self.weights_file)
            save_state(self.trainer.state(self.spent()), self.options.output)

    def check(self) -> None:
        """Validates the averaged weights, the clips divided among the processes."""
        share = self.held_out[self.replicas.rank :: self.replicas.count]
        scores = validate(self.trainer.average, share, half=self.options.half)
        tracking, click, presence = self.replicas.mean([scores.tracking, scores.click, scores.presence])
        if not self.replicas.leads:
            return
        step, minutes = self.trainer.steps_done, self.spent() / 60
        scored = {"tracking": round(tracking, 4), "click": round(click, 4), "presence": round(presence, 4)}
        _append(self.options.output / "validation.csv", {"minutes": round(minutes, 2), "step": step, **scored})
        self.report(
            f"validation at step {step}, {minutes:.1f} min: tracking J {tracking:.3f}, "
            f"one-click IoU {click:.3f}, presence {presence:.3f}"
        )

    def log(self, size: int) -> None:
        """One line and one row about the steps since the last."""
        if not self.replicas.leads:
            self.recent = []
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the overlap of steps without a visible object is nan
            means = {key: float(np.nanmean([terms[key] for terms in self.recent])) for key in self.recent[0]}
        row = {"minutes": round(self.spent() / 60, 2), "step": self.trainer.steps_done, "size": size}
        _append(self.options.output / "steps.csv", {**row, **{key: round(v, 6) for key, v in means.items()}})
        self.report(
            f"step {row['step']}, {row['minutes']:.1f} min, {size} px: loss {means['loss']:.3f} "
            f"(mask {means['mask']:.3f}, IoU {means['iou']:.3f}, presence {means['presence']:.3f}), "
            f"overlap {means['overlap']:.3f}, gradient {means['norm']:.2f}, "
            f"{means['seconds']:.2f} s per step, waited {means['waited']:.2f} s for clips"
        )
        self.recent = []

    def finish(self) -> Path:
        """Trains to the end of the budget, writes everything and returns the file of weights."""
        options, trainer = self.options, self.trainer
        (seconds,) = self.replicas.mean([self.spent()])
        saved = checked = seconds
        feed = Feed(options.data, trainer.steps_done, self.plan)
        batches = iter(feed)
        try:
            while self.progress(trainer.steps_done, seconds) < 1:
                begun = time.monotonic()
                plan, frames, masks = next(batches)
                got = time.monotonic()
                terms = trainer.step(plan, frames, masks, self.progress(plan.step, seconds))
                self.recent.append({**terms, "seconds": time.monotonic() - got, "waited": got - begun})
                (seconds,) = self.replicas.mean([self.spent()])
                if trainer.steps_done % options.report_every == 0:
                    self.log(plan.size)
                if seconds - saved > options.save_every:
                    self.save()
                    saved = seconds
                if seconds - checked > options.validate_every:
                    self.check()
                    checked = seconds
        finally:
            feed.close()
        self.save()
        self.check()
        self.replicas.close()
        self.report(f"Wrote {self.weights_file} after {trainer.steps_done} steps.")
        return self.weights_file
