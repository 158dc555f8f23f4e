"""The Swift host of `docs/swift` as a process: commands go in, its runs of graphs are answered here.

A message is a line of JSON, then the float32 numbers of the tensors it lists and as many bytes as it says.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etam_onnx.graphs.contract import contract
from etam_onnx.runtime.networks import Networks

Array = NDArray[np.float32]
TESTS = Path(__file__).resolve().parent
PACKAGE = TESTS.parent / "docs" / "swift"
HOST = TESTS / "swift_host"
EMPTY: dict[str, Any] = {"numbers": {}, "device": {}, "text": ""}
EMPTY |= {name: [] for name in ("points", "labels", "box", "found", "tensors")}


def swift(action: str, package: Path, scratch: Path, *arguments: str) -> list[str]:
    """The command line of the toolchain for one of the packages, build products outside the checkout."""
    command = shutil.which("swift")
    assert command is not None
    return [
        command,
        action,
        "-c",
        "release",
        "--package-path",
        str(package),
        "--scratch-path",
        str(scratch),
        *arguments,
    ]


@dataclass(frozen=True)
class Found:
    """An answer of the Swift host: (h, w) logits, presence logit, predicted IoU, and whether the object is lost."""

    obj_id: int
    low_res: Array
    presence: float
    iou: float
    lost: bool


class HostError(Exception):
    """The sentence with which the Swift host refused a command."""


class SwiftHost:
    """A running host that was built into `scratch`; the graphs are those of `networks`."""

    def __init__(self, scratch: Path, bundle: Path, networks: Networks) -> None:
        self.runners = networks.runners
        self.contract = contract(networks.manifest.geometry)
        self.handles: list[Any] = []
        self.frames: Sequence[NDArray[np.uint8]] = ()
        self.numbers: dict[str, int] = {}
        self.process = subprocess.Popen(
            swift("run", HOST, scratch, "--skip-build", "swift-host", str(bundle)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def close(self) -> None:
        """End the process by ending its input."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        assert self.process.wait(10) == 0
        self.process.stdout.close()

    def command(
        self, word: str, pixels: NDArray[np.uint8] | None = None, **fields: Any
    ) -> Iterator[tuple[dict[str, Any], dict[str, Array], bytes]]:
        """Send a command and serve the graphs until it is done; the answers on the way."""
        self._send({"word": word, **fields}, {}, b"" if pixels is None else pixels.tobytes())
        while True:
            message, tensors, data = self._receive()
            if message["word"] == "run":
                self._run(message, tensors)
            elif message["word"] == "load":
                self._send({"word": "loaded"}, {}, self.frames[message["numbers"]["frame"]].tobytes())
            elif message["word"] == "error":
                raise HostError(message["text"])
            else:
                yield message, tensors, data
                if message["word"] == "done":
                    return

    def answers(self, word: str, pixels: NDArray[np.uint8] | None = None, **fields: Any) -> list[Found]:
        """A command that ends with the answers of all objects."""
        ((message, tensors, _),) = self.command(word, pixels, **fields)
        self.numbers = message["numbers"]
        return found(message, tensors)

    def step(self, frame: NDArray[np.uint8]) -> list[Found]:
        """Advance a stream by a frame; `numbers` then say how many frames and memories are held."""
        return self.answers("step", frame, numbers={"width": frame.shape[1], "height": frame.shape[0]})

    def prompt(
        self,
        obj_id: int,
        points: Any = (),
        labels: Sequence[int] = (),
        box: Any = (),
        mask: NDArray[np.uint8] | None = None,
        frame: int | None = None,
    ) -> list[Found]:
        """Prompt an object, on the current frame of the stream, or on `frame` of the video."""
        numbers = {"object": obj_id} | ({} if frame is None else {"frame": frame})
        if mask is not None:
            return self.answers("mask", mask, numbers=numbers)
        plain = [[float(x), float(y)] for x, y in points]
        return self.answers("points", numbers=numbers, points=plain, labels=list(labels), box=[float(v) for v in box])

    def open_video(self, frames: Sequence[NDArray[np.uint8]], **numbers: int) -> None:
        """Start over with a stored video; options as numbers: fill, release, around, prompted."""
        self.frames = frames
        height, width, _ = frames[0].shape
        self.answers("video", numbers={"frames": len(frames), "width": width, "height": height, **numbers})

    def propagate(self, **numbers: int) -> Iterator[tuple[int, list[Found]]]:
        """Every frame visited, with its answers; start, most and reverse as numbers.  `numbers` as after `step`."""
        for message, tensors, _ in self.command("propagate", numbers=numbers):
            if message["word"] == "frame":
                self.numbers = message["numbers"]
                yield message["numbers"]["frame"], found(message, tensors)

    def _run(self, message: dict[str, Any], host: Mapping[str, Array]) -> None:
        device = {port: self.handles[number] for port, number in message["device"].items()}
        outputs = self.runners[message["text"]](**host, **device)
        kept, small = {}, {}
        for port in self.contract[message["text"]].outputs:
            if port.host:
                small[port.name] = np.asarray(outputs[port.name], np.float32)
            else:
                kept[port.name] = len(self.handles)
                self.handles.append(outputs[port.name])
        self._send({"word": "ran", "device": kept}, small, b"")

    def _send(self, message: dict[str, Any], tensors: Mapping[str, Array], data: bytes) -> None:
        listed = [{"name": name, "shape": list(tensor.shape)} for name, tensor in tensors.items()]
        whole = {**EMPTY, **message, "tensors": listed, "bytes": len(data)}
        assert self.process.stdin is not None
        numbers = b"".join(tensor.tobytes() for tensor in tensors.values())
        self.process.stdin.write(json.dumps(whole).encode() + b"\n" + numbers + data)
        self.process.stdin.flush()

    def _receive(self) -> tuple[dict[str, Any], dict[str, Array], bytes]:
        stream = self.process.stdout
        assert stream is not None
        line = stream.readline()
        assert line, "the Swift host has ended"
        message = json.loads(line)
        tensors = {}
        for listed in message["tensors"]:
            size = 4 * int(np.prod(listed["shape"], dtype=np.int64))
            tensors[listed["name"]] = np.frombuffer(stream.read(size), np.float32).reshape(listed["shape"])
        return message, tensors, stream.read(message["bytes"])


def found(message: dict[str, Any], tensors: Mapping[str, Array]) -> list[Found]:
    """The answers in a message."""
    return [
        Found(entry["object"], tensors[str(entry["object"])], entry["presence"], entry["iou"], entry["lost"])
        for entry in message["found"]
    ]
