"""What a training run is told: data, model, recipe, budget and machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config import CONFIGS, ModelConfig
from .recipes import Recipe, adjusted, recipe_named


@dataclass(frozen=True)
class TrainingOptions:
    """One run. At most one of `minutes` and `steps` is the budget; without either the recipe's own.

    `data`: a folder, or folders with weights. `size`: side of the largest frames in pixels instead of the
    preset's; `batch`: clips per step of all processes together; `frames`: frames per clip; `objects`: at most so
    many per clip; `learning_rate` of everything but the encoder, whose own is scaled alike. `config`: a variant of
    the preset, which then only names the files. `at_once`: clips that go through the model together (None: all of a
    step's), which bounds memory and changes no loss. `workers`: drawing processes per training process; with 0 it
    draws its clips itself. `teacher`: ONNX file of an image encoder to distil, see `teacher.Teacher`.
    """

    data: Path | str | Sequence[tuple[Path, float]]
    output: Path
    preset: str = "etam-nano"
    recipe: str | Recipe = "nano"
    minutes: float | None = None
    steps: int | None = None
    seed: int = 0
    resume: bool = False
    weights: Path | None = None
    teacher: Path | None = None
    half: bool = True
    device: str = "cpu"
    size: int | None = None
    batch: int | None = None
    frames: int | None = None
    objects: int | None = None
    learning_rate: float | None = None
    config: ModelConfig | None = None
    at_once: int | None = None
    workers: int = 1
    tensorboard: bool = True
    save_every: float = 180.0  # seconds
    validate_every: float = 540.0  # seconds
    validation_clips: int = 24
    validation_frames: int = 12
    report_every: int = 50  # steps

    def __post_init__(self) -> None:
        if self.minutes is not None and self.steps is not None:
            raise ValueError("A training run takes one budget: either minutes or steps.")
        if any(budget is not None and budget <= 0 for budget in (self.minutes, self.steps)):
            raise ValueError("The budget of a training run must be positive.")
        if self.config is None and self.preset not in CONFIGS:
            raise ValueError(f"There is no preset {self.preset!r}; there are: {', '.join(CONFIGS)}.")
        if self.size is not None and (self.size < 64 or self.size % 32):
            raise ValueError(f"The frame size must be a multiple of 32 from 64 on, not {self.size}.")
        if self.workers < 0:
            raise ValueError(f"The number of workers must not be negative, not {self.workers}.")
        if self.at_once is not None and self.at_once < 1:
            raise ValueError(f"At least one clip must be trained on at once, not {self.at_once}.")
        if self.validation_clips < 0 or self.report_every < 1:
            raise ValueError("The validation clips must not be fewer than 0, nor the steps between reports than 1.")
        if not self.sources:
            raise ValueError("A training run needs data.")
        for folder, weight in self.sources:
            if not 0 < weight < float("inf"):
                raise ValueError(f"The weight of {folder} must be positive, not {weight}.")
        self.adjusted_recipe()

    def settings(self) -> dict[str, str]:
        """What a resumed run must repeat besides preset, recipe and seed, by the option that says it."""
        named = {
            "size": self.size,
            "batch": self.batch,
            "frames": self.frames,
            "objects": self.objects,
            "learning rate": self.learning_rate,
            "weights": self.weights is not None,
            "teacher": self.teacher is not None,
            "bfloat16": self.half,
        }
        return {name: str(value) for name, value in named.items()}

    @property
    def sources(self) -> list[tuple[Path, float]]:
        """Folders of data and their weights."""
        if isinstance(self.data, str | Path):
            return [(Path(self.data), 1.0)]
        return [(Path(folder), float(weight)) for folder, weight in self.data]

    @property
    def image_size(self) -> int:
        """Side of the largest frames in pixels."""
        return self.size or self.model_config.image_size

    @property
    def model_config(self) -> ModelConfig:
        """What is trained."""
        return self.config or CONFIGS[self.preset]

    def adjusted_recipe(self) -> Recipe:
        """The recipe with this run's own numbers in it."""
        recipe = self.recipe if isinstance(self.recipe, Recipe) else recipe_named(self.recipe)
        return adjusted(recipe, clips=self.batch, length=self.frames, rate=self.learning_rate, objects=self.objects)

    @property
    def budget(self) -> tuple[float | None, int | None]:
        """(minutes, steps), exactly one of which is a number."""
        if self.minutes is None and self.steps is None:
            recipe = self.adjusted_recipe()
            return (None, recipe.steps) if recipe.steps is not None else (recipe.minutes, None)
        return self.minutes, self.steps
