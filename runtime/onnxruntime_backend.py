"""The ONNX Runtime backend, CPU and CUDA: which file becomes which kind of runner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..graphs.contract import Graph
from ..graphs.variants import PORTABLE, PRECISIONS
from .backend import Handle, Runner
from .errors import BundleError, DeviceError
from .onnxruntime_device import Array, Device
from .onnxruntime_runners import BoundRunner, CapturedRunner, HostRunner


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


BEST_FIRST = {
    "cpu": (*(PRECISIONS[precision] for precision in ("int8", "fp32")), PORTABLE, PRECISIONS["fp16"]),
    "cuda": (*(PRECISIONS[precision] for precision in ("fp16", "fp32")), PORTABLE),
}
"""Variants by device.  A CPU computes half precision through casts; CUDA has no products of bytes."""


class OnnxRuntimeBackend:
    """Loads ONNX files on one device.

    Args:
        device: ``cpu`` or ``cuda``.
        threads: threads of one operator on the CPU; by default one per core that this process may use.
        cuda_graphs: on CUDA replay every graph that can be captured instead of launching its kernels one by one.
        tf32: let CUDA multiply with ten bits of mantissa, faster and outside the parity tolerances.

    Raises:
        DeviceError: ONNX Runtime is not installed, has no provider for the device, or cannot start it.
    """

    def __init__(
        self, device: str = "cpu", threads: int | None = None, *, cuda_graphs: bool = True, tf32: bool = False
    ) -> None:
        self._device = Device(device, threads, tf32)
        self.variants = BEST_FIRST[device]
        self._cuda_graphs = cuda_graphs and device == "cuda"
        self.captured: list[str] = []
        """Names of the graphs that are replayed as CUDA graphs, in the order of loading."""

    @property
    def device(self) -> str:
        """Name of the device."""
        return self._device.name

    @property
    def provider(self) -> str:
        """ONNX Runtime's name for what computes there."""
        return self._device.provider

    @property
    def workers(self) -> int:
        """How many graphs can run side by side, each on one core."""
        return self._device.workers

    def load(self, graph: Graph, path: Path) -> Runner:
        """Open the ONNX file of `graph` and check its edges.

        Raises:
            BundleError: the file cannot be loaded or its edges are not the contract's.
            DeviceError: the device refused it, or would leave a part of it to the CPU.
        """
        if path.suffix != ".onnx":  # what a bundle's files refer to is only known of these
            raise BundleError(f"{path} should be an .onnx file")
        if self._cuda_graphs:
            captured = self._capture(graph, path)
            if captured is not None:
                self.captured.append(graph.name)
                return captured
        session = self._device.session(path)
        _check_edges(graph, session, path)
        if self.device != "cpu":
            return BoundRunner(session, graph, self._device)
        return HostRunner(session, graph, lambda: self._device.session(path, threads=1))

    def place(self, array: Array) -> Handle:
        """A handle of a host array, for one that is read many times: it crosses to the device once."""
        return array if self.device == "cpu" else self._device.place(array)

    def _capture(self, graph: Graph, path: Path) -> Runner | None:
        """The graph behind a capture that was tried out; None where it cannot be had, and plain runs say why."""
        try:
            session = self._device.session(path, capture=True)
            _check_edges(graph, session, path)
            runner = CapturedRunner(session, graph, self._device)
            return runner if runner.capture() else None
        except (BundleError, DeviceError, RuntimeError, TypeError):  # TypeError: a release that copies from hosts only
            return None
