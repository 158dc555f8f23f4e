"""Linear layers and attention scores of an exported graph in 8-bit integers, for ONNX Runtime's CPU provider."""

from .quantization import PIXELS, quantize_linears
from .recipe import PARTS, to_int8
from .scores import quantize_scores
from .smoothing import smooth_norms

__all__ = ["PARTS", "PIXELS", "quantize_linears", "quantize_scores", "smooth_norms", "to_int8"]
