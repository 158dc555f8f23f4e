"""The deployment of a model's `ort` variant: which memory-attention graphs there are, and what their edges need."""

from __future__ import annotations

from collections.abc import Sequence

from ...config import ModelConfig
from ...graphs.contract import Geometry
from ...graphs.ort_contract import Deployment

FEW = (1, 2, 4)
"""Memory slots of the graphs for the first frames after a prompt, before all recent frames are remembered."""


def deployment_of(config: ModelConfig, geometry: Geometry, memory_counts: Sequence[int] | None = None) -> Deployment:
    """The sizes of a configuration.

    Args:
        memory_counts: memory slots of the graphs; by default few, one prompted frame with all recent ones, everything.
            Slots beyond everything are left out, one and everything are always there.

    Raises:
        ValueError: a count is not positive.
    """
    most = geometry.prompted_frames + geometry.recent_memories
    counts = (*FEW, 1 + geometry.recent_memories) if memory_counts is None else tuple(memory_counts)
    if any(count < 1 for count in counts):
        raise ValueError(f"memory-attention graphs need at least one memory slot, found {list(counts)}")
    kept = sorted({1, *(count for count in counts if count < most), most})
    return Deployment(config.memory_layers, 1 if config.cross_attention == "full" else config.pool_window, tuple(kept))
