"""The training run: steps until the budget is spent, with validation and checkpoints on the way."""

import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from .checkpoints import load_state, save_state, save_weights
from .clips import Clip
from .feed import Feed
from .journal import Journal
from .options import TrainingOptions
from .replicas import Replicas
from .schedule import StepPlan, plan_step
from .sources import open_sources, open_validation
from .trainer import Trainer
from .validation import scores_of, sums, validation_clips

__all__ = ["Run", "Trainer", "TrainingOptions", "run_training"]


def run_training(options: TrainingOptions, report: Callable[[str], None] = print) -> Path:
    """Trains until the budget is spent; returns the file of weights, `<output>/<preset>.pt`.

    Beside it lie `state.pt` (for resuming), `steps.csv`, `validation.csv` and `tensorboard/`. `report` gets
    single lines. Raises FloatingPointError if the loss is not finite; the last checkpoint stays.
    """
    replicas = Replicas(options.device)
    try:
        return Run(options, report, replicas).finish()
    finally:
        replicas.close()


class Run:
    """A training run in progress: clock, logs and files around a Trainer."""

    def __init__(self, options: TrainingOptions, report: Callable[[str], None], replicas: Replicas) -> None:
        self.options, self.replicas = options, replicas
        self.minutes, self.steps = options.budget
        self.trainer = Trainer(options, replicas)
        self.recipe = self.trainer.recipe
        spent_before = 0.0
        if options.resume:
            state = load_state(options.output, options.preset, options.seed, self.recipe.name, options.settings())
            self.trainer.restore(state)
            spent_before = state.spent_seconds
        with warnings.catch_warnings():
            if not replicas.leads:
                warnings.simplefilter("ignore")  # one process tells about broken files
            open_sources(options.sources, self.recipe.augment)  # so that errors come before any work
            self.held_out = self._held_out()
        self.weights_file = options.output / f"{options.preset}.pt"
        self.journal: Journal | None = None
        if replicas.leads:
            options.output.mkdir(parents=True, exist_ok=True)
            self.journal = Journal(options.output, report, self.trainer.steps_done, self.steps, options.tensorboard)
            self.journal.say(
                f"{options.preset}, recipe {self.recipe.name}: {len(options.sources)} folder(s) of data, "
                f"{options.validation_clips if self.held_out else 0} held-out clips, "
                f"{replicas.count} process(es) on {replicas.device}, from step {self.trainer.steps_done}."
            )
        self.started = time.monotonic() - spent_before
        (self.seconds,) = replicas.mean([spent_before])
        self.recent: list[dict[str, float]] = []

    def _held_out(self) -> list[tuple[int, Clip]]:
        """This process's share of the numbered validation clips; none if the data has no validation split."""
        options, replicas = self.options, self.replicas
        numbers = range(replicas.rank, options.validation_clips, replicas.count)
        source = open_validation(options.sources) if len(numbers) else None
        if source is None:
            return []
        return validation_clips(source, numbers, options.image_size, options.validation_frames)

    def spent(self) -> float:
        """Seconds of this run, those before it was stopped and resumed included."""
        return time.monotonic() - self.started

    def progress(self, step: int) -> float:
        """The spent share of the budget, by the clock that all processes agreed on after the last step."""
        if self.steps is not None:
            return min(1.0, step / self.steps)
        return min(1.0, self.seconds / (60 * (self.minutes or math.inf)))

    def midway(self, step: int) -> float:
        """Progress in the middle of a step: rates that start or end at 0 are then never 0."""
        return self.progress(step) if self.steps is None else (step + 0.5) / self.steps

    def plan(self, step: int) -> StepPlan:
        fine_tuning = self.options.weights is not None
        progress = self.progress(step)
        return plan_step(self.options.seed, step, progress, self.recipe, self.options.image_size, fine_tuning)

    def save(self) -> None:
        if self.replicas.leads:
            save_weights(self.trainer.weights(), self.weights_file)
            save_state(self.trainer.state(self.spent()), self.options.output)

    def check(self) -> None:
        """Validates the averaged weights, the clips divided among the processes."""
        found = sums(self.trainer.average, self.held_out, half=self.options.half)
        flat = self.replicas.sum([float(value) for pair in found for value in pair])
        if self.journal is not None and any(flat[1::2]):
            scores = scores_of(list(zip(flat[::2], flat[1::2], strict=True)))
            self.journal.validated(self.trainer.steps_done, scores, self.spent() / 60)

    def log(self, size: int) -> None:
        """A row and a line about the steps since the last."""
        if self.journal is not None and self.recent:
            means = {}
            for name in self.recent[0]:
                values = [terms[name] for terms in self.recent if math.isfinite(terms[name])]
                means[name] = math.fsum(values) / len(values) if values else math.nan
            self.journal.log(self.trainer.steps_done, size, means, self.spent() / 60)
        self.recent = []

    def finish(self) -> Path:
        """Trains to the end of the budget, writes everything and returns the file of weights."""
        options, replicas = self.options, self.replicas
        feed = Feed(
            options.sources,
            self.recipe.augment,
            self.trainer.steps_done,
            self.plan,
            options.workers,
            replicas.rank,
            replicas.count,
            self.recipe.alternates(options.weights is not None),
        )
        try:
            self._train(feed)
            self.save()
            self.check()
            (skipped,) = replicas.sum([feed.skipped])
            if self.journal is not None:
                if skipped:
                    self.journal.say(f"Skipped {skipped:.0f} times data that could not be used.")
                self.journal.say(f"Wrote {self.weights_file} after {self.trainer.steps_done} steps.")
        finally:
            feed.close()
            if self.journal is not None:
                self.journal.close()
        return self.weights_file

    def _train(self, feed: Feed) -> None:
        options, trainer = self.options, self.trainer
        saved = checked = self.seconds
        batches = iter(feed)
        size = options.image_size
        while self.progress(trainer.steps_done) < 1:
            begun = time.monotonic()
            plan, clips = next(batches)
            got, size = time.monotonic(), plan.size
            terms = trainer.step(plan, clips, self.midway(plan.step))
            self.recent.append({**terms, "seconds": time.monotonic() - got, "waited": got - begun})
            (self.seconds,) = self.replicas.mean([self.spent()])
            if self.journal is not None:
                self.journal.step(trainer.steps_done, self.recent[-1], self.seconds / 60)
            if trainer.steps_done % options.report_every == 0:
                self.log(plan.size)
            if self.seconds - saved > options.save_every:
                self.save()
                saved = self.seconds
            if self.seconds - checked > options.validate_every:
                self.check()
                checked = self.seconds
        self.log(size)
