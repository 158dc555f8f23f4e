"""The process that measures the speed of plain matrix products does this instead of tracking."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..runtime.onnxruntime_device import Device
from .stopwatch import FrameTimes, Stopwatch


class ProductRunner:
    """Loaded graphs of products, in sessions like those of a bundle's graphs.

    Args:
        files: name and ONNX file of each; one input of static shape.
        threads: of one operator.

    Raises:
        BundleError, DeviceError: they cannot run here.
    """

    def __init__(self, files: list[list[str]], threads: int) -> None:
        self._stopwatch = Stopwatch()
        device = Device("cpu", threads)
        self._calls = [self._call(name, device.session(Path(path))) for name, path in files]

    def once(self) -> FrameTimes:
        """Every graph once; `parts` are the seconds of each."""
        self._stopwatch.start()
        for call in self._calls:
            call()
        return self._stopwatch.mark()

    def _call(self, name: str, session: Any) -> Callable[[], Any]:
        port = session.get_inputs()[0]
        feed = {port.name: np.random.default_rng(0).standard_normal(port.shape, np.float32)}
        call: Callable[[], Any] = self._stopwatch.timed(name, lambda: session.run(None, feed))
        return call
