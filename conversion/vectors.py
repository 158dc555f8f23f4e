"""Writing the test vectors of a bundle; the format is described in ``graphs/vectors.py``."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graphs.vectors import INDEX, TENSORS
from .scenario import SCRIPT, Call, Result


class _Store:
    """Tensors by content."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.chunks: list[bytes] = []
        self.size = 0
        self.known: dict[tuple[str, tuple[int, ...]], int] = {}

    def add(self, array: NDArray[Any]) -> int:
        raw = np.ascontiguousarray(array).tobytes()
        key = (hashlib.sha256(raw).hexdigest(), array.shape)
        if key not in self.known:
            self.known[key] = len(self.entries)
            self.entries.append({"offset": self.size, "shape": list(array.shape), "dtype": str(array.dtype)})
            self.chunks.append(raw)
            self.size += len(raw)
        return self.known[key]


def write_vectors(root: Path, frames: list[NDArray[np.uint8]], calls: list[Call], results: list[Result]) -> list[str]:
    """Write the vectors of a recorded scenario into a bundle's folder; returns the names of the files written."""
    store = _Store()
    index: dict[str, Any] = {
        "script": [_stored_step(store, step) for step in SCRIPT],
        "frames": [store.add(frame) for frame in frames],
        "calls": [
            {
                "graph": call.graph,
                "inputs": {port: store.add(value) for port, value in call.inputs.items()},
                "outputs": {port: store.add(value) for port, value in call.outputs.items()},
            }
            for call in calls
        ],
        "results": [
            {
                "frame": result.frame,
                "object": result.obj_id,
                "low_res": store.add(result.low_res),
                "presence": result.presence,
                "iou": result.iou,
            }
            for result in results
        ],
    }
    index["tensors"] = store.entries
    (root / TENSORS).parent.mkdir(exist_ok=True)
    (root / TENSORS).write_bytes(b"".join(store.chunks))
    (root / INDEX).write_text(json.dumps(index, sort_keys=True) + "\n", encoding="utf-8")
    return [TENSORS, INDEX]


def _stored_step(store: _Store, step: dict[str, Any]) -> dict[str, Any]:
    """A step of the script with its mask, if any, as a stored tensor."""
    if "mask" not in step:
        return step
    return {**step, "mask": store.add(np.asarray(step["mask"], np.uint8))}
