"""ONNX Runtime with a CUDA device that is not there: it computes on the CPU and writes down what crosses.

The rules of the real one that a mistake would run into are kept: a tensor of the device has an address and is read
only through copies; a binding that is run again writes over what it gave before, unless its outputs are bound anew; a
captured graph reads and writes the addresses it was captured with, whatever is bound by then.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


@dataclass
class Traffic:
    """Bytes of every copy, in order.

    up: from the host to the device.  down: back.  across: within the device.  allocated: tensors made on the device
    by hand.  runs: how each run was done: plain, capture or replay.
    """

    up: list[int] = field(default_factory=list)
    down: list[int] = field(default_factory=list)
    across: list[int] = field(default_factory=list)
    allocated: list[int] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)

    def clear(self) -> None:
        """Forget what was written down."""
        for kind in (self.up, self.down, self.across, self.allocated, self.runs):
            kind.clear()


class Value:
    """A tensor with an address: `memory`."""

    def __init__(self, runtime: RecordingRuntime, memory: np.ndarray, device: str) -> None:
        self._runtime, self.memory, self.device = runtime, memory, device

    def update_inplace(self, data: Any) -> None:
        """As the real one it counts bytes and looks at nothing else."""
        traffic = self._runtime.traffic
        if isinstance(data, Value):
            if not self._runtime.copies_across:
                raise TypeError("update_inplace(): incompatible function arguments")
            assert self.device == data.device
            traffic.across.append(data.memory.nbytes)
            raw = data.memory
        else:
            traffic.up.append(data.nbytes)
            raw = data
        if raw.nbytes != self.memory.nbytes:
            raise RuntimeError("The input size of numpy arrays does not match the size of the OrtValue.")
        self.memory[...] = np.frombuffer(raw.tobytes(), self.memory.dtype).reshape(self.memory.shape)

    def numpy(self) -> np.ndarray:
        """A copy of what is on the device, a view of what is on the host."""
        if self.device == "cpu":
            return self.memory.view()
        self._runtime.traffic.down.append(self.memory.nbytes)
        return self.memory.copy()


class Binding:
    """What a session reads and writes."""

    def __init__(self) -> None:
        self.inputs: dict[str, Value] = {}
        self.outputs: dict[str, Value | str] = {}

    def bind_ortvalue_input(self, name: str, value: Value) -> None:
        assert isinstance(value, Value)
        self.inputs[name] = value

    def bind_ortvalue_output(self, name: str, value: Value) -> None:
        self.outputs[name] = value

    def bind_output(self, name: str, device_type: str, device_id: int) -> None:
        assert device_id == 0
        self.outputs[name] = device_type

    def get_outputs(self) -> list[Value | str]:
        return list(self.outputs.values())


class Options:
    """Options of a session or of a run, as entries."""

    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    def add_session_config_entry(self, key: str, value: str) -> None:
        self.entries[key] = value

    add_run_config_entry = add_session_config_entry


class RecordingRuntime:
    """What `import onnxruntime` gives.

    Faults: `start`, said by the first allocation.  `leaves_nodes`: a part of every graph would go to the CPU.
    `silent`: the session runs on the CPU without saying so.  `capturable`: graphs can be captured.  `stale`: inputs
    that a captured graph does not read again.  `copies_across`: tensors are copied within the device.  `dies`: runs
    fail.
    """

    def __init__(self) -> None:
        self.traffic = Traffic()
        self.sessions: list[Any] = []
        self.start = ""
        self.leaves_nodes = self.silent = self.dies = False
        self.capturable = self.copies_across = True
        self.stale: tuple[str, ...] = ()
        runtime = self

        class OrtValue:
            @staticmethod
            def ortvalue_from_shape_and_type(shape: list[int], dtype: Any, device: str, device_id: int) -> Value:
                assert (device, device_id, dtype) == ("cuda", 0, np.float32)
                if runtime.start:
                    raise RuntimeError(runtime.start)
                value = Value(runtime, np.full(shape, np.nan, np.float32), device)
                runtime.traffic.allocated.append(value.memory.nbytes)
                return value

            @staticmethod
            def ortvalue_from_numpy(array: np.ndarray, device: str = "cpu", device_id: int = 0) -> Value:
                assert array.dtype == np.float32 and array.flags.c_contiguous
                if device == "cpu":
                    return Value(runtime, array, device)
                runtime.traffic.up.append(array.nbytes)
                return Value(runtime, array.copy(), device)

        class InferenceSession:
            def __init__(self, path: str, options: Options, providers: list[Any], enable_fallback: int) -> None:
                assert enable_fallback == 0
                (name, self.provider_options), self.options = providers[0], options
                assert name == CUDA and len(providers) == 1
                assert options.entries["session.disable_cpu_ep_fallback"] == "1"
                if runtime.leaves_nodes:
                    raise RuntimeError(
                        "This session contains graph nodes that are assigned to the default CPU EP, "
                        "but fallback to CPU EP has been explicitly disabled by the user."
                    )
                self.captures = self.provider_options["enable_cuda_graph"] == "1"
                if self.captures and not runtime.capturable:
                    raise RuntimeError("This session cannot use the graph capture feature as requested by the user.")
                settings = onnxruntime.SessionOptions()
                settings.intra_op_num_threads = 1
                self.real = onnxruntime.InferenceSession(path, settings, providers=[CPU])
                self.get_inputs, self.get_outputs = self.real.get_inputs, self.real.get_outputs
                self.captured: tuple[dict[str, Any], dict[str, Any], dict[str, np.ndarray]] | None = None
                runtime.sessions.append(self)

            def get_providers(self) -> list[str]:
                return [CPU] if runtime.silent else [CUDA, CPU]

            def io_binding(self) -> Binding:
                return Binding()

            def run_with_iobinding(self, binding: Binding, options: Options | None = None) -> None:
                if runtime.dies:
                    raise RuntimeError("cuda_call.cc:1 CudaCall CUDA failure 700: an illegal memory access\nmore")
                skips = options is not None and options.entries.get("gpu_graph_id") == "-1"
                inputs, outputs = binding.inputs, binding.outputs
                frozen: dict[str, np.ndarray] = {}
                if not self.captures or skips:
                    runtime.traffic.runs.append("plain")
                elif self.captured is None:
                    assert all(
                        isinstance(v, Value) and v.device == "cuda" for v in (*inputs.values(), *outputs.values())
                    )
                    frozen = {name: inputs[name].memory.copy() for name in runtime.stale if name in inputs}
                    self.captured = (dict(inputs), dict(outputs), frozen)
                    runtime.traffic.runs.append("capture")
                else:
                    inputs, outputs, frozen = self.captured
                    runtime.traffic.runs.append("replay")
                self.compute(inputs, outputs, frozen)

            def compute(self, inputs: dict[str, Any], outputs: dict[str, Any], frozen: dict[str, np.ndarray]) -> None:
                feeds = {}
                for name, value in inputs.items():
                    assert value.device == "cuda", f"{name} is not on the device"
                    feeds[name] = frozen.get(name, value.memory)
                names = list(outputs)
                for name, result in zip(names, self.real.run(names, feeds), strict=True):
                    target = outputs[name]
                    if isinstance(target, str):
                        outputs[name] = Value(runtime, result.copy(), target)
                    else:
                        target.memory[...] = result
                    if outputs[name].device == "cpu":
                        runtime.traffic.down.append(result.nbytes)

        self.OrtValue, self.InferenceSession = OrtValue, InferenceSession
        self.SessionOptions = self.RunOptions = Options

    def get_available_providers(self) -> list[str]:
        return [CUDA, CPU]

    def preload_dlls(self) -> None:
        print("Failed to load libcudnn.so.9: no such file")
