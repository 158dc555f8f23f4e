"""Loaded graphs as functions: three ways to call a session, by where its tensors live.

On a device only the ports that the contract gives to the host cross.  The others are handles: tensors of the device
that are never written again once they were handed out, and whose memory returns to ONNX Runtime's arena when the last
reference goes.
"""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

import numpy as np

from ..graphs.contract import Graph, Port
from .backend import Handle, check_inputs
from .errors import DeviceError
from .onnxruntime_device import Array, Device, reason
from .side_by_side import beside_others

_AGREEMENT = 1e-3
"""Largest relative difference between a replayed graph and a plain run: far above rounding, far below stale data."""


class HostRunner:
    """Runs on the CPU: handles are numpy arrays.  A thread beside others gets a session of one thread, opened when the
    first one asks.
    """

    def __init__(self, session: Any, graph: Graph, narrow: Callable[[], Any] | None = None) -> None:
        self._session = session
        self._outputs = [port.name for port in graph.outputs]
        self._open_narrow, self._lock = narrow, Lock()
        self._narrow: Any = None

    def __call__(self, **inputs: Handle) -> dict[str, Handle]:
        session = self._session
        if self._open_narrow is not None and beside_others():
            with self._lock:
                self._narrow = self._narrow or self._open_narrow()
            session = self._narrow
        return dict(zip(self._outputs, session.run(self._outputs, inputs), strict=True))


class _DeviceRunner(ABC):
    """One session with the one binding that all its calls share; calls of several threads take turns."""

    def __init__(self, session: Any, graph: Graph, device: Device) -> None:
        self._session = session
        self._graph = graph
        self._device = device
        self._binding = session.io_binding()
        self._lock = Lock()

    def __call__(self, **inputs: Handle) -> dict[str, Handle]:
        check_inputs(self._graph, inputs)
        with self._lock:
            return self._call(inputs)

    @abstractmethod
    def _call(self, inputs: Mapping[str, Handle]) -> dict[str, Handle]:
        """Run the graph; the lock is held and the names are checked."""

    def _run(self, options: Any = None) -> None:
        try:
            self._session.run_with_iobinding(self._binding, options)
        except Exception as error:  # ONNX Runtime raises a dozen unrelated types here
            raise DeviceError(f"{self._graph.name} failed on {self._device.provider}: {reason(error)}") from error


class BoundRunner(_DeviceRunner):
    """Binds handles where they are.

    A host input is copied into a tensor of the device that was allocated once.  A host output is written into a
    fresh array, the caller's own; any other into memory of its own that ONNX Runtime takes from its arena: outputs
    are bound anew for every call, since a binding that is run twice writes over what it gave before.
    """

    def __init__(self, session: Any, graph: Graph, device: Device) -> None:
        super().__init__(session, graph, device)
        self._uploads: dict[str, Handle] = {}
        self._bound: dict[str, Handle] = {}

    def _call(self, inputs: Mapping[str, Handle]) -> dict[str, Handle]:
        for port in self._graph.inputs:
            self._feed(port, inputs[port.name])
        arrays: dict[str, Array] = {}
        for port in self._graph.outputs:
            if port.host:
                arrays[port.name] = np.empty(port.shape, np.float32)
                self._binding.bind_ortvalue_output(port.name, self._device.around(arrays[port.name]))
            else:
                self._binding.bind_output(port.name, self._device.name, 0)
        self._run()
        values = self._binding.get_outputs()
        return {
            port.name: arrays[port.name] if port.host else value
            for port, value in zip(self._graph.outputs, values, strict=True)
        }

    def _feed(self, port: Port, value: Handle) -> None:
        if isinstance(value, np.ndarray):
            if port.name not in self._uploads:
                self._uploads[port.name] = self._device.empty(port.shape)
            self._device.upload(self._uploads[port.name], value, port)
            value = self._uploads[port.name]
        if self._bound.get(port.name) is not value:
            self._binding.bind_ortvalue_input(port.name, value)
            self._bound[port.name] = value


class CapturedRunner(_DeviceRunner):
    """Replays the kernels of the session as one CUDA graph.

    A captured graph reads and writes the addresses it was captured with, so every port has a tensor for good, and
    values are copied into it and out of it on the device.  A handle that a port holds already is not copied again:
    objects that share a frame share its copy.  ONNX Runtime warms up and captures within the first run.
    """

    def __init__(self, session: Any, graph: Graph, device: Device) -> None:
        super().__init__(session, graph, device)
        self._inputs = {port.name: device.empty(port.shape) for port in graph.inputs}
        self._outputs = {port.name: device.empty(port.shape) for port in graph.outputs}
        self._held: dict[str, weakref.ref[Any]] = {}
        self._options = device.run_options(gpu_graph_id="1")
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)

    def _call(self, inputs: Mapping[str, Handle]) -> dict[str, Handle]:
        for port in self._graph.inputs:
            self._fill(port, inputs[port.name])
        self._run(self._options)
        return {port.name: self._result(port) for port in self._graph.outputs}

    def _fill(self, port: Port, value: Handle) -> None:
        held = self._held.pop(port.name, None)
        if isinstance(value, np.ndarray):
            self._device.upload(self._inputs[port.name], value, port)
            return
        if held is None or held() is not value:
            self._inputs[port.name].update_inplace(value)
        self._held[port.name] = weakref.ref(value)

    def _result(self, port: Port) -> Handle:
        fixed = self._outputs[port.name]
        if port.host:
            array = fixed.numpy()
            return array if array.flags.owndata else array.copy()  # on the CPU it is a view of the tensor
        fresh = self._device.empty(port.shape)
        fresh.update_inplace(fixed)
        return fresh

    def capture(self) -> bool:
        """Capture the graph, then replay it on other inputs: whether that gives what a plain run gives.

        A kernel that reads something from the host, or works outside the captured stream, shows here and not in a mask.
        """
        rng = np.random.default_rng(0)

        def draw() -> dict[str, Handle]:
            drawn = {port: rng.random(port.shape, np.float32) for port in self._graph.inputs}
            return {port.name: array if port.host else self._device.place(array) for port, array in drawn.items()}

        with self._lock:
            self._call(draw())
            other = draw()
            replayed = self._call(other)
            self._run(self._device.run_options(gpu_graph_id="-1"))
            plain = {port.name: self._result(port) for port in self._graph.outputs}
        return all(_agree(replayed[name], plain[name]) for name in plain)


def _agree(found: Handle, expected: Handle) -> bool:
    a, b = (value if isinstance(value, np.ndarray) else value.numpy() for value in (found, expected))
    return bool(np.allclose(a, b, rtol=0, atol=_AGREEMENT * float(np.abs(b).max()), equal_nan=True))
