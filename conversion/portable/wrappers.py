"""From a graph's name to the module that computes it, with the ports of the contract as arguments in order."""

from __future__ import annotations

from torch import Tensor, nn

from ...graphs.contract import Geometry, memory_attention_name
from ...model import EfficientTAM
from .image_encoder import PortableImageEncoder
from .mask_decoder import PortableMaskDecoder
from .memory_attention import PortableMemoryAttention
from .memory_encoder import PortableMemoryEncoder


class SlotArguments(nn.Module):
    """Memory attention with its memories as separate arguments, in the contract's order of ports."""

    def __init__(self, attention: PortableMemoryAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, features: Tensor, *ports: Tensor) -> Tensor:
        slots = self.attention.slots
        return self.attention(features, ports[:slots], *ports[slots:])


def portable_graph(model: EfficientTAM, geometry: Geometry, name: str) -> nn.Module:
    """The module of one graph of the contract, in evaluation mode.

    Raises:
        ValueError: no graph of that name.
    """
    for slots in geometry.memory_counts:
        if name == memory_attention_name(slots):
            return SlotArguments(PortableMemoryAttention(model, slots, geometry.pointer_slots)).eval()
    modules = {
        "image_encoder": PortableImageEncoder,
        "mask_decoder": PortableMaskDecoder,
        "memory_encoder": PortableMemoryEncoder,
    }
    if name not in modules:
        raise ValueError(f"no graph is called {name!r}")
    return modules[name](model).eval()
