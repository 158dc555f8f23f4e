"""Networks that run nowhere: cheap functions behind the contract's edges, which write down what they were given.

A frame carries its number as its colour.  A decoded mask is a square around the clicks, or the mask of the newest
memory attended to.  Its logits are +-a, and `a` depends on everything the answer was made from: the features, which
memories with which rows, which pointers, the points, the mask input.  Memories and pointers inherit it.  So two runs
give equal logits only if they did the same with the same history.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from etam_onnx.graphs.contract import LABELS, MASKS, Geometry, Graph, memory_port
from etam_onnx.graphs.manifest import Constants, Manifest
from etam_onnx.graphs.ort_contract import Deployment
from etam_onnx.graphs.variants import PORTABLE
from etam_onnx.runtime.networks import Networks

Array = NDArray[np.float32]
NO_OBJECT = "no object"
WITHOUT_MEMORY = "without memory"
DOWNSAMPLE = tuple(float(i) for i in range(16))
DOWNSAMPLE_BIAS = 0.5


def tiny_geometry(**sizes: int) -> Geometry:
    """A geometry with the published memory rules and nothing else of size."""
    defaults = {"image_size": 64, "stride": 16, "width": 8, "memory_width": 4, "recent_memories": 6}
    return Geometry(**(defaults | {"recent_pointers": 15, "prompted_frames": 8, "prompt_slots": 6} | sizes))


def numbered_frame(number: int, height: int = 48, width: int = 80) -> NDArray[np.uint8]:
    """A frame of one colour that says its number."""
    return np.full((height, width, 3), (number % 256, number // 256, 0), np.uint8)


def numbered_frames(count: int, height: int = 48, width: int = 80) -> list[NDArray[np.uint8]]:
    """The first frames of a video."""
    return [numbered_frame(number, height, width) for number in range(count)]


@dataclass(frozen=True)
class FakeFeatures:
    """A handle that only the fake looks into.  kind: raw, without memory, or fused."""

    frame: int
    kind: str
    tag: int
    mask: Array | None = None


@dataclass(frozen=True)
class FakeMemory:
    """What a memory was made from."""

    frame: int
    mask_logits: Array
    binarized: bool
    tag: int


@dataclass(frozen=True)
class FakePointer:
    """Which mask token a pointer comes from."""

    frame: int
    token: int
    tag: int


@dataclass(frozen=True)
class Encoded:
    """A call of the image encoder."""

    frame: int


@dataclass(frozen=True)
class Attended:
    """A call of a memory-attention graph: memories with their rows, and pointers (None: of an absent object)."""

    frame: int
    slots: int
    memories: tuple[tuple[FakeMemory, int], ...]
    pointers: tuple[FakePointer | None, ...]

    @property
    def rows(self) -> list[tuple[int, int]]:
        """(frame, temporal row) of each memory, sorted."""
        return sorted((memory.frame, row) for memory, row in self.memories)

    @property
    def pointer_frames(self) -> list[int]:
        """Frames of the pointers of present objects, sorted."""
        return sorted(pointer.frame for pointer in self.pointers if pointer is not None)


@dataclass(frozen=True)
class Decoded:
    """A call of the mask decoder.  points: (x, y, label) of the used slots.  mask_logits: its output (4, h, w)."""

    frame: int
    kind: str
    points: tuple[tuple[float, float, int], ...]
    mask_input: Array | None
    mask_logits: Array


@dataclass(frozen=True)
class Memorized:
    """A call of the memory encoder."""

    frame: int
    binarized: bool
    mask_logits: Array


class FakeModel:
    """The functions, what they were called with (`calls`), and the few knobs that tests turn.

    absent: frames on which no object is visible.  iou: what the decoder predicts.  unstable: the single mask hovers
    around zero.  hole: every decoded mask has a one-pixel hole in its first square.
    """

    variant = PORTABLE
    deployment: Deployment | None = None

    def __init__(self, **sizes: int) -> None:
        self.geometry = tiny_geometry(**sizes)
        self.calls: list[Any] = []
        self.memories: list[FakeMemory] = []
        self.pointers: list[FakePointer] = []
        self.absent: set[int] = set()
        self.iou = (0.9, 0.3, 0.8, 0.5)
        self.unstable = False
        self.hole = False

    def networks(self, source: str = "", model: str = "fake") -> Networks:
        """The fake as any predictor takes it."""
        constants = Constants((-1.0,) * self.geometry.width, DOWNSAMPLE, DOWNSAMPLE_BIAS)
        manifest = Manifest(model, self.geometry, constants, {"fake": {}}, self.deployment)
        runners = {name: self._checked(graph) for name, graph in manifest.graphs_of(self.variant).items()}
        return Networks(manifest, runners, source, self.variant)

    def called(self, kind: type, frame: int | None = None) -> list[Any]:
        """Calls of one kind, and on one frame if given."""
        return [call for call in self.calls if isinstance(call, kind) and (frame is None or call.frame == frame)]

    def attended(self, frame: int) -> Attended:
        """The latest attention on a frame."""
        found: Attended = self.called(Attended, frame)[-1]
        return found

    def _checked(self, graph: Graph) -> Callable[..., dict[str, Any]]:
        """A runner that insists on the contract: the inputs' names, and shape and type of what crosses the host."""
        kind = "memory_attention" if graph.name.startswith("memory_attention") else graph.name
        function: Callable[[dict[str, Any]], dict[str, Any]] = getattr(self, f"_{kind}")

        def run(**inputs: Any) -> dict[str, Any]:
            assert set(inputs) == {port.name for port in graph.inputs}, graph.name
            for port in graph.inputs:
                if port.host:
                    value = inputs[port.name]
                    assert (value.dtype, value.shape) == (np.float32, port.shape), (graph.name, port.name)
                    assert np.isfinite(value).all(), (graph.name, port.name)
            outputs = function(inputs)
            assert set(outputs) == {port.name for port in graph.outputs}
            return outputs

        return run

    def _image_encoder(self, inputs: dict[str, Any]) -> dict[str, Any]:
        colour = np.rint(inputs["image"][0, :, 0, 0]).astype(int)
        frame = int(colour[0] + 256 * colour[1])
        self.calls.append(Encoded(frame))
        return {
            "features": encoded(frame, "raw"),
            "features_without_memory": encoded(frame, WITHOUT_MEMORY),
        }

    def _memory_attention(self, inputs: dict[str, Any]) -> dict[str, Any]:
        features, rows = inputs["features"], inputs["memory_row"]
        assert features.kind == "raw"
        return {
            "fused": self._fused(features, [self._read(inputs[memory_port(slot)]) for slot in range(len(rows))], inputs)
        }

    def _fused(self, features: FakeFeatures, read: list[FakeMemory], inputs: dict[str, Any]) -> FakeFeatures:
        """Features that know what is in the memory slots `read` and in the pointers."""
        rows, used = inputs["memory_row"], inputs["pointer_used"][:, 0] > 0
        assert set(rows.sum(1)) <= {0.0, 1.0}
        assert not inputs["pointers"][~used].any()
        memories = [(memory, int(row.argmax())) for memory, row in zip(read, rows, strict=True) if row.any()]
        assert memories
        pointers = [None if row[0] < 0 else self.pointers[int(row[0]) - 1] for row in inputs["pointers"][used]]
        self.calls.append(Attended(features.frame, len(rows), tuple(memories), tuple(pointers)))
        tags = sorted((memory.tag, row) for memory, row in memories)
        tag = _tag(features.tag, tags, sorted(pointer.tag if pointer else 0 for pointer in pointers))
        newest = min(memories, key=lambda memory: (memory[1], -memory[0].frame))[0]
        return FakeFeatures(features.frame, "fused", tag, newest.mask_logits)

    def _mask_decoder(self, inputs: dict[str, Any]) -> dict[str, Any]:
        features, labels = inputs["features"], inputs["point_label"][0]
        used = labels.any(1)
        assert used[: used.sum()].all(), "used prompt slots come first"
        kinds = labels[used].argmax(1) + LABELS[0]
        points = tuple((float(x), float(y), int(k)) for (x, y), k in zip(inputs["points"][0][used], kinds, strict=True))
        given = inputs["mask_input"][0, 0] if inputs["mask_used"][0] else None
        assert given is not None or not inputs["mask_input"].any()
        tag = _tag(features.tag, points, None if given is None else crc32(given.tobytes()))
        inside = self._drawn(points, features.mask)
        side = 4 + np.float32(tag % 4096) / 1024
        masks = np.stack([np.where(inside, side, -side) * np.float32(1 + token / 16) for token in range(MASKS)])
        if self.unstable:
            masks[0, inside] = 0.01
        self.calls.append(Decoded(features.frame, features.kind, points, given, masks))
        rows = np.zeros((MASKS, self.geometry.width), np.float32)
        for token in range(MASKS):
            self.pointers.append(FakePointer(features.frame, token, _tag(tag, token)))
            rows[token, 0] = len(self.pointers)
        return {
            "mask_logits": masks[None].astype(np.float32),
            "iou": np.asarray([self.iou], np.float32),
            "mask_pointers": rows,
            "presence": np.asarray([0.0 if features.frame in self.absent else 5.0], np.float32),
        }

    def _memory_encoder(self, inputs: dict[str, Any]) -> dict[str, Any]:
        features, mask, binarized = inputs["features"], inputs["mask_logits"][0, 0].copy(), bool(inputs["binarize"][0])
        assert features.kind == "raw"
        self.calls.append(Memorized(features.frame, binarized, mask))
        content = crc32((mask > 0).tobytes() if binarized else mask.tobytes())
        self.memories.append(FakeMemory(features.frame, mask, binarized, _tag(features.tag, content, binarized)))
        memory = np.zeros((1, self.geometry.tokens, self.geometry.memory_width), np.float32)
        memory[0, 0, 0] = len(self.memories)
        return {"memory": memory}

    def _read(self, memory: Array) -> FakeMemory:
        assert memory.shape == (1, self.geometry.tokens, self.geometry.memory_width)
        return self.memories[int(memory[0, 0, 0]) - 1]

    def _drawn(self, points: tuple[tuple[float, float, int], ...], remembered: Array | None) -> NDArray[np.bool_]:
        y, x = np.mgrid[: self.geometry.mask_size, : self.geometry.mask_size]
        inside = np.zeros(x.shape, bool)
        clicks = [(px / 4, py / 4) for px, py, kind in points if kind == 1]
        corners = [(px / 4, py / 4) for px, py, kind in points if kind in (2, 3)]
        for cx, cy in clicks:
            inside |= (abs(x + 0.5 - cx) < 3) & (abs(y + 0.5 - cy) < 3)
        if corners:
            (x0, y0), (x1, y1) = corners
            inside |= (x + 0.5 > x0) & (x + 0.5 < x1) & (y + 0.5 > y0) & (y + 0.5 < y1)
        if not clicks and not corners and remembered is not None:
            inside = remembered > 0
        if self.hole and clicks:
            inside[int(clicks[0][1]), int(clicks[0][0])] = False
        return inside


def encoded(frame: int, kind: str) -> FakeFeatures:
    """Features that know nothing but their frame."""
    return FakeFeatures(frame, kind, _tag(frame, kind))


def _tag(*content: Any) -> int:
    return crc32(repr(content).encode())
