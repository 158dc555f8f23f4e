"""The manifest of a model that has not been exported: its geometry and the learned numbers a host needs."""

from __future__ import annotations

from .config import ModelConfig
from .graphs.contract import Geometry
from .graphs.manifest import Constants, Manifest
from .model import EfficientTAM

PROMPTED_FRAMES = 8
PROMPT_SLOTS = 16


def geometry_of(
    config: ModelConfig, prompted_frames: int = PROMPTED_FRAMES, prompt_slots: int = PROMPT_SLOTS
) -> Geometry:
    """The sizes of a configuration, with the capacities chosen for its graphs."""
    return Geometry(
        image_size=config.image_size,
        stride=config.stride,
        width=config.width,
        memory_width=config.memory_width,
        recent_memories=config.recent_memories,
        recent_pointers=config.recent_pointers,
        prompted_frames=prompted_frames,
        prompt_slots=prompt_slots,
    )


def manifest_of(model: EfficientTAM, geometry: Geometry | None = None) -> Manifest:
    """Name, geometry and constants of `model`; no files."""
    down = model.mask_downsample
    return Manifest(
        model=model.config.name,
        geometry=geometry or geometry_of(model.config),
        constants=Constants(
            no_object_pointer=tuple(model.no_obj_ptr.detach().flatten().tolist()),
            mask_downsample=tuple(down.weight.detach().flatten().tolist()),
            mask_downsample_bias=float(down.bias.detach().item()),
        ),
        variants={},
    )
