"""The portable form of each graph: the model's weights in modules that use only plain operators.

Rank at most 4, no dimension above 16,384, no kernel wider than 13, windows and padding by reshapes and
concatenation, rotary embedding in halves, no operator that selects by index or comparison: what Core ML, the web
and every ONNX Runtime provider take.
"""

from .image_encoder import PortableImageEncoder
from .mask_decoder import PortableMaskDecoder
from .memory_attention import PortableMemoryAttention
from .memory_encoder import PortableMemoryEncoder
from .wrappers import portable_graph

__all__ = [
    "PortableImageEncoder",
    "PortableMaskDecoder",
    "PortableMemoryAttention",
    "PortableMemoryEncoder",
    "portable_graph",
]
