"""Track anything in video: EfficientTAM on ONNX Runtime, with a numpy-only runtime.

Importing this package imports nothing heavy; the public names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .graphs.bundle import Bundle
    from .runtime.frame_result import FrameResult
    from .runtime.image_predictor import ImagePredictor
    from .runtime.mask_generator import MaskGenerator
    from .runtime.tracker import Tracker
    from .runtime.video_predictor import VideoPredictor

__version__ = "0.1.0"

_PUBLIC = {
    "Bundle": ".graphs.bundle",
    "FrameResult": ".runtime.frame_result",
    "ImagePredictor": ".runtime.image_predictor",
    "MaskGenerator": ".runtime.mask_generator",
    "Tracker": ".runtime.tracker",
    "VideoPredictor": ".runtime.video_predictor",
}

__all__ = ["Bundle", "FrameResult", "ImagePredictor", "MaskGenerator", "Tracker", "VideoPredictor"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_PUBLIC[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
