"""The test vectors of a bundle: every tensor that crossed a graph's edge during a short clip, for ports to other
languages.

``vectors/index.json`` lists tensors (offset and shape in ``vectors/tensors.bin``, raw little-endian float32 or
uint8, each stored once), ``calls`` (graph, tensors by port) in the order they ran, ``frames`` (RGB uint8),
``script`` (prompts in pixels of the frame, and propagations) and ``results`` (the answers of all objects on the frame
after each step, and on each frame of a propagation).  Standard library only: reading gives bytes and shapes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from .errors import BundleError

FOLDER = "vectors"
INDEX = f"{FOLDER}/index.json"
TENSORS = f"{FOLDER}/tensors.bin"
ITEM_SIZE = {"float32": 4, "uint8": 1}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor's bytes, its shape and its type."""

    data: memoryview
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Vectors:
    """An opened set of vectors."""

    index: dict[str, Any]
    tensors: tuple[StoredTensor, ...]

    def calls(self) -> Iterator[tuple[str, dict[str, StoredTensor], dict[str, StoredTensor]]]:
        """Graph, inputs by port, outputs by port, in the order they ran."""
        for call in self.index["calls"]:
            yield (
                call["graph"],
                {port: self.tensors[i] for port, i in call["inputs"].items()},
                {port: self.tensors[i] for port, i in call["outputs"].items()},
            )


def read_vectors(index_path: Path, tensors_path: Path) -> Vectors:
    """Read vectors from files that have been checked.

    Raises:
        BundleError: the index is malformed or points outside the tensors.
    """
    try:
        index = json.loads(index_path.read_text(encoding="utf-8"))
        data = memoryview(tensors_path.read_bytes())
        tensors = []
        for entry in index["tensors"]:
            size = prod(entry["shape"]) * ITEM_SIZE[entry["dtype"]]
            start = entry["offset"]
            if start < 0 or min(entry["shape"], default=0) < 0 or start + size > len(data):
                raise BundleError(f"{index_path}: a tensor lies outside {tensors_path.name}")
            tensors.append(StoredTensor(data[start : start + size], tuple(entry["shape"]), entry["dtype"]))
        for call in index["calls"]:
            for tensor in (*call["inputs"].values(), *call["outputs"].values()):
                if not isinstance(tensor, int) or not 0 <= tensor < len(tensors):
                    raise BundleError(f"{index_path}: graph {call['graph']} names tensor {tensor!r} of {len(tensors)}")
        return Vectors(index, tuple(tensors))
    except BundleError:
        raise
    except KeyError as error:
        raise BundleError(f"{index_path} is malformed: it lacks {error}") from error
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(f"{index_path} is malformed: {error}") from error
