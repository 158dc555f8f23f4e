"""Where ONNX Runtime computes and keeps tensors: the provider of a device, its options, and how it fails."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graphs.contract import Port
from .backend import Handle
from .errors import BundleError, DeviceError
from .processor import adds_bytes_exactly

Array = NDArray[np.float32]

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_FALLBACK = "fallback to CPU EP has been explicitly disabled"

# TensorFloat-32 keeps ten bits of a product's factors, too few for parity.  The heuristic search picks the same
# convolution algorithms on every start and costs no first frame.  An arena that grows by what is asked for wastes
# nothing where every graph has its own.
_CUDA_OPTIONS = {
    "device_id": "0",
    "use_tf32": "0",
    "cudnn_conv_algo_search": "HEURISTIC",
    "arena_extend_strategy": "kSameAsRequested",
}


def reason(error: Exception) -> str:
    """What an exception of ONNX Runtime says, without the place in its sources and the lines that follow."""
    line = next(iter(str(error).splitlines()), type(error).__name__)
    _, mark, rest = line.partition("CUDA failure")
    return mark + rest if mark else line


def _cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Device:
    """One device of this machine as ONNX Runtime sees it.

    Args:
        name: ``cpu`` or ``cuda``.
        threads: threads of one operator on the CPU; by default one per core that this process may use.
        tf32: let CUDA multiply with ten bits of mantissa, faster and outside the parity tolerances.

    Raises:
        DeviceError: ONNX Runtime is not installed, has no provider for the device, or cannot start it.
    """

    def __init__(self, name: str, threads: int | None = None, tf32: bool = False) -> None:
        if name not in PROVIDERS:
            raise DeviceError(f"unknown device {name!r}, expected one of {sorted(PROVIDERS)}")
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            extra = "cpu" if name == "cpu" else "gpu"
            raise DeviceError(
                f"device {name!r} needs ONNX Runtime, which is not installed: pip install 'etam-onnx[{extra}]'"
            ) from error
        self._ort: Any = onnxruntime
        self._threads = threads or _cores()
        self._tf32 = tf32
        self.name = name
        self.provider = PROVIDERS[name]
        if self.provider not in onnxruntime.get_available_providers():
            raise DeviceError(
                f"device {name!r} needs {self.provider}, and this ONNX Runtime has only "
                f"{', '.join(onnxruntime.get_available_providers())}: "
                "pip install 'etam-onnx[gpu]' in an environment of its own"
            )
        if name != "cpu":
            self._start()

    def _start(self) -> None:
        """Allocate something there: the provider's libraries are only looked for when it is first used."""
        said = io.StringIO()
        with contextlib.suppress(Exception), contextlib.redirect_stdout(said):
            self._ort.preload_dlls()  # of NVIDIA's Python packages; it prints what it does not find
        try:
            self.empty((1,))
        except Exception as error:  # ONNX Runtime raises a dozen unrelated types here
            missing = [line for line in said.getvalue().splitlines() if line][:1]
            because = "; ".join([reason(error), *missing])
            raise DeviceError(f"{self.provider} could not be started: {because}") from error

    @property
    def workers(self) -> int:
        """How many graphs can run side by side, each on one core."""
        return self._threads if self.name == "cpu" else 1

    def session(self, path: Path, capture: bool = False, threads: int | None = None) -> Any:
        """Open an ONNX file; with `capture` so that its kernels can be recorded as a CUDA graph; with `threads` of one
        operator other than the device's.

        Raises:
            BundleError: the file cannot be loaded.
            DeviceError: the provider was not started, or leaves a part of the graph to the CPU.
        """
        options = self._ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads or self._threads
        # Several sessions take turns on the same cores: pools that spin while idle slow each other down.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if not adds_bytes_exactly():  # slower kernels for products of bytes, which would overflow otherwise
            options.add_session_config_entry("session.x64quantprecision", "1")
        provider: Any = self.provider
        if self.name != "cpu":
            options.log_severity_level = 4  # what went wrong is said once, in the exception
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
            chosen = {"use_tf32": str(int(self._tf32)), "enable_cuda_graph": str(int(capture))}
            provider = (self.provider, _CUDA_OPTIONS | chosen)
        try:
            session = self._ort.InferenceSession(str(path), options, providers=[provider], enable_fallback=0)
        except Exception as error:  # ONNX Runtime raises a dozen unrelated types here
            if _FALLBACK in str(error):
                raise DeviceError(
                    f"{path}: {self.provider} cannot run every operator of this graph and would leave some to the CPU"
                ) from error
            raise BundleError(f"{path} cannot be loaded by ONNX Runtime: {reason(error)}") from error
        if session.get_providers()[0] != self.provider:
            raise DeviceError(
                f"{self.provider} could not be started; ONNX Runtime offers {session.get_providers()[0]} instead"
            )
        return session

    def run_options(self, **entries: str) -> Any:
        """Options of one run."""
        options = self._ort.RunOptions()
        for key, value in entries.items():
            options.add_run_config_entry(key, value)
        return options

    def empty(self, shape: Sequence[int]) -> Handle:
        """A float32 tensor on the device, of any content."""
        return self._ort.OrtValue.ortvalue_from_shape_and_type(list(shape), np.float32, self.name, 0)

    def place(self, array: Array) -> Handle:
        """A copy of a host array on the device."""
        return self._ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array, np.float32), self.name, 0)

    def around(self, array: Array) -> Handle:
        """A contiguous host array as a tensor that shares its memory."""
        return self._ort.OrtValue.ortvalue_from_numpy(array)

    def upload(self, target: Handle, array: Array, port: Port) -> None:
        """Copy a host array over a tensor of the device.

        Raises:
            ValueError: it does not have the port's shape.
        """
        if array.shape != port.shape:
            raise ValueError(f"{port.name}: expected the shape {port.shape}, found {array.shape}")
        # The copy counts bytes, so another type would pass unnoticed.
        target.update_inplace(np.ascontiguousarray(array, np.float32))
