"""Reading checkpoints: the published layout ``{"model": state_dict}``, checked against a configuration."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..config import CONFIGS, config_named
from .efficienttam import EfficientTAM, build_model


class CheckpointError(ValueError):
    """A checkpoint that cannot be used, said in one sentence."""


def _matching_configs(state: Mapping[str, Tensor]) -> list[str]:
    """The names of configurations whose tensors have exactly these names and shapes."""
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    matching = []
    for name in CONFIGS:
        with torch.device("meta"):
            expected = build_model(name).state_dict()
        if {key: tuple(tensor.shape) for key, tensor in expected.items()} == shapes:
            matching.append(name)
    return matching


def load_weights(model: EfficientTAM, state: Mapping[str, Tensor], source: str = "the state dict") -> None:
    """Copy `state` into `model`; every tensor must be there with its shape, and none more.

    Raises:
        CheckpointError: names the first tensor that is missing, unknown or of another shape, and the configurations
            that fit.
    """
    expected = model.state_dict()
    problem = None
    for name, tensor in expected.items():
        if name not in state:
            problem = f"lacks the tensor {name}"
        elif tuple(state[name].shape) != tuple(tensor.shape):
            problem = f"has {name} of shape {tuple(state[name].shape)}, expected {tuple(tensor.shape)}"
        elif state[name].is_floating_point() and not torch.isfinite(state[name]).all():
            problem = f"has non-finite values in {name}"
        if problem:
            break
    else:
        unknown = sorted(set(state) - set(expected))
        if unknown:
            problem = f"has {len(unknown)} tensors that the model does not know, first {unknown[0]}"
    if problem:
        fitting = _matching_configs(state)
        hint = f"; its tensors fit {', '.join(fitting)}" if fitting else ""
        raise CheckpointError(f"{source} does not fit the configuration {model.config.name}: it {problem}{hint}")
    model.load_state_dict(state)


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Read ``torch.save({"model": state_dict})`` without running code from the file.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is not such a checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint at {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} is not a PyTorch checkpoint that holds only tensors") from error
    state = content.get("model") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise CheckpointError(f"{path} is not a checkpoint: expected a dictionary with the state dict under 'model'")
    return state


def load_checkpoint(name: str, path: str | Path, *, image_size: int | None = None) -> EfficientTAM:
    """Build the configuration `name` with the weights of the checkpoint at `path`, in evaluation mode.

    Raises:
        ValueError: unknown configuration.
        FileNotFoundError: no such file.
        CheckpointError: unreadable, or it does not fit the configuration.
    """
    model = EfficientTAM(config_named(name, image_size=image_size))
    load_weights(model, read_state(path), str(path))
    return model.eval()
