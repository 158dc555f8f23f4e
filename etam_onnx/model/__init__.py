"""The PyTorch model."""

from .checkpoint import load_checkpoint, load_weights
from .efficienttam import EfficientTAM, build_model

__all__ = ["EfficientTAM", "build_model", "load_checkpoint", "load_weights"]
