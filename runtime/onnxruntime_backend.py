"""The ONNX Runtime backend, CPU and CUDA.  Sessions, providers and bindings stay inside this file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ..graphs.contract import Graph, Port
from .backend import Handle, Runner
from .errors import BundleError, DeviceError

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def _check_edges(graph: Graph, session: Any, path: Path) -> None:
    """The file's edges must be the contract's: names, shapes, types."""
    for side, ports, found in (
        ("input", graph.inputs, session.get_inputs()),
        ("output", graph.outputs, session.get_outputs()),
    ):
        have = {value.name: value for value in found}
        for port in ports:
            if port.name not in have:
                raise BundleError(f"{path}: {side} {port.name} is missing, found {sorted(have)}")
            value = have[port.name]
            if tuple(value.shape) != port.shape or value.type != "tensor(float)":
                raise BundleError(
                    f"{path}: {side} {port.name}: expected float32 {port.shape}, "
                    f"found {value.type} {tuple(value.shape)}"
                )
        extra = set(have) - {port.name for port in ports}
        if extra:
            raise BundleError(f"{path}: unknown {side} {sorted(extra)[0]}")


def _cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _HostRunner:
    """Runs on the CPU: handles are numpy arrays."""

    def __init__(self, session: Any, graph: Graph) -> None:
        self.session = session
        self.outputs = [port.name for port in graph.outputs]

    def __call__(self, **inputs: Handle) -> dict[str, Handle]:
        return dict(zip(self.outputs, self.session.run(self.outputs, inputs), strict=True))


class _DeviceRunner:
    """Runs on an accelerator: handles are OrtValues that stay there; host ports cross as numpy."""

    def __init__(self, session: Any, graph: Graph, device: str) -> None:
        self.session = session
        self.device = device
        self.outputs: tuple[Port, ...] = graph.outputs

    def __call__(self, **inputs: Handle) -> dict[str, Handle]:
        binding = self.session.io_binding()
        for name, value in inputs.items():
            if isinstance(value, np.ndarray):
                binding.bind_cpu_input(name, value)
            else:
                binding.bind_ortvalue_input(name, value)
        for port in self.outputs:
            binding.bind_output(port.name, "cpu" if port.host else self.device)
        self.session.run_with_iobinding(binding)
        values = binding.get_outputs()
        return {
            port.name: value.numpy() if port.host else value for port, value in zip(self.outputs, values, strict=True)
        }


class OnnxRuntimeBackend:
    """Loads ONNX files on one device.

    Args:
        device: ``cpu`` or ``cuda``.
        threads: threads of one operator; by default one per core of the machine.

    Raises:
        DeviceError: ONNX Runtime is not installed, or has no provider for the device.
    """

    variants = ("portable",)

    def __init__(self, device: str = "cpu", threads: int | None = None) -> None:
        if device not in _PROVIDERS:
            raise DeviceError(f"unknown device {device!r}, expected one of {sorted(_PROVIDERS)}")
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            extra = "cpu" if device == "cpu" else "gpu"
            raise DeviceError(
                f"device {device!r} needs ONNX Runtime, which is not installed: pip install 'etam-onnx[{extra}]'"
            ) from error
        self._ort = onnxruntime
        self.device = device
        self.provider = _PROVIDERS[device]
        if self.provider not in onnxruntime.get_available_providers():
            raise DeviceError(
                f"device {device!r} needs {self.provider}, and this ONNX Runtime has only "
                f"{', '.join(onnxruntime.get_available_providers())}: "
                "pip install 'etam-onnx[gpu]' in an environment of its own"
            )
        self._options = onnxruntime.SessionOptions()
        self._options.log_severity_level = 3
        self._options.intra_op_num_threads = threads or _cores()
        # Several sessions take turns on the same cores: pools that spin while idle slow each other down.
        self._options.add_session_config_entry("session.intra_op.allow_spinning", "0")

    def load(self, graph: Graph, path: Path) -> Runner:
        """Open the ONNX file of `graph` and check its edges.

        Raises:
            BundleError: the file cannot be loaded or its edges are not the contract's.
            DeviceError: the device refused it.
        """
        if path.suffix != ".onnx":  # what a bundle's files refer to is only known of these
            raise BundleError(f"{path} should be an .onnx file")
        try:
            session = self._ort.InferenceSession(str(path), self._options, providers=[self.provider])
        except Exception as error:  # ONNX Runtime raises a dozen unrelated types here
            raise BundleError(f"{path} cannot be loaded by ONNX Runtime: {str(error).splitlines()[0]}") from error
        if session.get_providers()[0] != self.provider:
            raise DeviceError(
                f"{self.provider} could not be started; ONNX Runtime offers {session.get_providers()[0]} instead"
            )
        _check_edges(graph, session, path)
        return _HostRunner(session, graph) if self.device == "cpu" else _DeviceRunner(session, graph, self.device)
