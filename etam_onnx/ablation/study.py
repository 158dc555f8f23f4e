"""Runs the variants one by one.  Each leaves one file, so a study that was stopped goes on where it was.

Two kinds of study: the given weights under every variant, or every variant trained with one small budget, from the same
weights, seed and clips, and then tracked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..config import ModelConfig
from ..evaluation.scores import Score
from ..graphs.bundle import file_identity
from ..model import EfficientTAM, load_weights
from ..model.checkpoint import read_state
from .cost import Cost, cost_of
from .scoring import Exam, examine
from .variants import Variant

FORMAT = 1


@dataclass(frozen=True)
class Training:
    """One small budget for every variant.  data: folder that training reads.  steps: updates.  seed: of clips, prompts
    and new weights.
    """

    data: Path
    steps: int
    seed: int = 0


@dataclass(frozen=True)
class Result:
    """What was found for one variant.  scores: exam -> object -> J and F in percent; empty if nothing was tracked."""

    variant: Variant
    cost: Cost
    scores: dict[str, dict[int, Score]] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """A study's settings.

    weights: checkpoint that every variant starts from; None trains new ones.  training: None leaves the weights as they
    are.  exams: what is tracked; none gives costs only.  folder: where results are kept, None keeps none.  repeats:
    frames timed, 0 for no timing.  device: what PyTorch runs on, ``cpu`` or ``cuda``.
    """

    weights: Path | None
    exams: Sequence[Exam]
    training: Training | None = None
    folder: Path | None = None
    repeats: int = 5
    report: Callable[[str], None] = lambda line: None
    progress: Callable[[int], object] = lambda frames: None
    device: str = "cpu"

    def run(self, variant: Variant) -> Result:
        """The result of a variant, from its file if there is one.

        Raises:
            ValueError: its file is damaged or was made with other settings, or the weights do not fit.
        """
        settings = self.settings(variant.config)
        path = None if self.folder is None else self.folder / f"{variant.key}.json"
        if path is not None and path.is_file():
            cost, scores = read_result(path, settings)
            self.progress(sum(exam.frames for exam in self.exams))
            return Result(variant, cost, scores)
        model = self.model_of(variant)
        scores = examine(model, self.exams, self.progress) if self.exams else {}
        result = Result(variant, cost_of(model, self.repeats), scores)
        if path is not None:
            write_whole(path, {"format": FORMAT, "settings": settings, **result_as_json(result)})
        return result

    def settings(self, config: ModelConfig) -> dict[str, Any]:
        """All that a variant's result depends on, as JSON can hold it."""
        training = self.training
        settings = {
            "config": asdict(config),
            "weights": None if self.weights is None else file_identity(self.weights).sha256,
            "training": None if training is None else {**asdict(training), "data": str(training.data.resolve())},
            "exams": {exam.name: [exam.frames, exam.source] for exam in self.exams},
            "repeats": self.repeats,
            "device": self.device,
        }
        as_written: dict[str, Any] = json.loads(json.dumps(settings))
        return as_written

    def model_of(self, variant: Variant) -> EfficientTAM:
        """The variant with its weights, trained first if the study trains, in evaluation mode."""
        weights = self.weights
        if self.training is not None:
            if self.folder is None:
                raise ValueError("a study that trains needs a folder for its weights")
            output = self.folder / variant.key
            weights = train_variant(variant, self.training, output, self.weights, self.report, self.device)
        torch.manual_seed(0)
        model = EfficientTAM(variant.config)
        if weights is not None:
            load_weights(model, read_state(weights), str(weights))
        return model.eval().to(self.device)


def train_variant(
    variant: Variant,
    training: Training,
    output: Path,
    weights: Path | None,
    report: Callable[[str], None],
    device: str = "cpu",
) -> Path:
    """Train one variant, or go on with a run that was stopped; returns its file of weights."""
    from ..training.checkpoints import STATE_FILE
    from ..training.loop import run_training
    from ..training.options import TrainingOptions

    output.mkdir(parents=True, exist_ok=True)
    options = TrainingOptions(
        data=training.data,
        output=output,
        preset=variant.config.name,
        config=variant.config,
        steps=training.steps,
        seed=training.seed,
        resume=(output / STATE_FILE).is_file(),
        weights=weights,
        device=device,
        validation_clips=0,
        tensorboard=False,
    )
    return run_training(options, lambda line: report(f"{variant.key}: {line}"))


def result_as_json(result: Result) -> dict[str, Any]:
    """A result as JSON can hold it."""
    cost = result.cost
    return {
        "names": list(result.variant.names),
        "config": asdict(result.variant.config),
        "cost": {**asdict(cost), "gigaflops": cost.gigaflops},
        "scores": {
            name: {str(object_id): {"J": score.j, "F": score.f} for object_id, score in objects.items()}
            for name, objects in result.scores.items()
        },
    }


def read_result(path: Path, settings: Mapping[str, Any]) -> tuple[Cost, dict[str, dict[int, Score]]]:
    """Cost and scores from a variant's file.

    Raises:
        ValueError: the file is damaged, or was made with other settings than these.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = content["settings"]
        cost = Cost(**{name: content["cost"][name] for name in ("parameters", "flops", "milliseconds")})
        scores = {
            name: {int(object_id): Score(entry["J"], entry["F"]) for object_id, entry in objects.items()}
            for name, objects in content["scores"].items()
        }
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a result of an ablation; remove it or choose another folder") from error
    for name, wanted in settings.items():
        if found.get(name) != wanted:
            raise ValueError(f"{path} was made with other settings ({name}); choose another folder")
    return cost, scores


def write_whole(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON beside its place and rename it there: the file is whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        draft.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
