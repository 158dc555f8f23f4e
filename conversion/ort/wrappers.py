"""From a graph's name to the module that computes it, with the ports of the `ort` contract as arguments in order."""

from __future__ import annotations

from torch import nn

from ...graphs.contract import Geometry, memory_attention_name
from ...graphs.ort_contract import Deployment
from ...model import EfficientTAM
from .frame_attention import OrtFrameAttention
from .image_encoder import OrtImageEncoder
from .mask_decoder import OrtMaskDecoder
from .memory_attention import OrtMemoryAttention
from .memory_encoder import OrtMemoryEncoder
from .memory_keys import OrtMemoryKeys
from .tracked_decoder import OrtTrackedDecoder


def ort_graph(model: EfficientTAM, geometry: Geometry, deployment: Deployment, name: str) -> nn.Module:
    """The module of one graph of the contract, in evaluation mode.

    Raises:
        ValueError: no graph of that name.
    """
    for slots in deployment.memory_counts:
        if name == memory_attention_name(slots):
            return OrtMemoryAttention(model, geometry, deployment, slots).eval()
    if name == "frame_attention":
        return OrtFrameAttention(model, geometry, deployment).eval()
    if name == "memory_keys":
        return OrtMemoryKeys(model, geometry, deployment).eval()
    modules = {
        "image_encoder": OrtImageEncoder,
        "mask_decoder": OrtMaskDecoder,
        "tracked_decoder": OrtTrackedDecoder,
        "memory_encoder": OrtMemoryEncoder,
    }
    if name not in modules:
        raise ValueError(f"no graph is called {name!r}")
    return modules[name](model).eval()
