"""Training state on disk. A file is either the old one or the new one, never half of either."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

STATE_FILE = "state.pt"


@dataclass
class TrainingState:
    """Everything a run continues from. `spent_seconds` counts against a budget in minutes."""

    preset: str
    recipe: str
    seed: int
    step: int
    spent_seconds: float
    model: dict[str, Tensor]
    matching: dict[str, Tensor]  # empty without the matching loss
    distillation: dict[str, Tensor]  # empty without a teacher
    average: dict[str, Tensor]  # empty without a weight average
    optimizer: dict[str, Any]
    random: Tensor
    settings: dict[str, str] = field(default_factory=dict)


def save_atomically(content: object, path: Path) -> None:
    """Writes beside `path`, flushes to disk and renames over it."""
    draft = path.with_name(path.name + ".part")
    with draft.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


def save_state(state: TrainingState, folder: Path) -> None:
    save_atomically({"format": 1, **asdict(state)}, folder / STATE_FILE)


def load_state(
    folder: Path, preset: str, seed: int, recipe: str = "nano", settings: Mapping[str, str] | None = None
) -> TrainingState:
    """The state to resume from, of a run with these `settings` if they are given.

    Raises FileNotFoundError if there is none, ValueError if it is damaged or of another run.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        raise FileNotFoundError(f"There is no training state to resume in {folder}.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        content.pop("format")
        state = TrainingState(**content)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise ValueError(f"The training state {path} cannot be read.") from error
    if (state.preset, state.seed) != (preset, seed):
        raise ValueError(
            f"The training state in {folder} is of {state.preset} with seed {state.seed}, "
            f"not of {preset} with seed {seed}."
        )
    if state.recipe != recipe:
        raise ValueError(f"The training state in {folder} is of the recipe {state.recipe}, not of {recipe}.")
    for name, value in (settings or {}).items():
        if state.settings.get(name) != value:
            raise ValueError(
                f"The training state in {folder} is of a run with {name} {state.settings.get(name)}, not {value}."
            )
    return state


def rounded_to_half(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Float tensors rounded to float16 and kept as float32: storing them in half precision is then exact."""
    return {name: t.cpu().half().float() if t.is_floating_point() else t.cpu().clone() for name, t in weights.items()}


def save_weights(weights: dict[str, Tensor], path: Path) -> None:
    """The file to export from: {"model": weights rounded to float16}."""
    save_atomically({"model": rounded_to_half(weights)}, path)
