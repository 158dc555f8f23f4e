"""What a backend is: loading graphs, and placing tensors.  Everything else about a runtime is its own business."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..graphs.contract import Graph

Handle = Any
"""A tensor that only its backend looks into; it may live on a device."""


class Runner(Protocol):
    """A loaded graph: named tensors in, named tensors out.

    Host ports take and give float32 numpy arrays, the others the backend's own handles; an array is taken there too.
    What a call returns is never written again.
    """

    def __call__(self, **inputs: Handle) -> dict[str, Handle]: ...


class Backend(Protocol):
    """Loads graphs.  `variants` lists the bundle variants it can run, best first.

    One whose runners may be called from several threads, each on one core, says with `workers` of how many.
    """

    variants: tuple[str, ...]

    def load(self, graph: Graph, path: Path) -> Runner: ...

    def place(self, array: NDArray[np.float32]) -> Handle:
        """A handle of a host array, for one that is read many times."""
        ...


def check_inputs(graph: Graph, names: Collection[str]) -> None:
    """ValueError, naming one, if inputs are missing or unknown."""
    expected = {port.name for port in graph.inputs}
    if wrong := sorted(expected ^ set(names)):
        raise ValueError(f"{graph.name}: the input {wrong[0]} is {'missing' if wrong[0] in expected else 'unknown'}")
