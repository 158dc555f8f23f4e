"""The interpreter as a backend of the tracking loop: Core ML packages tracked with on any system, slowly.

For tests and verification.  It computes what Core ML documents, in declared precision; Apple's kernels, their sums and
their placement are not in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...graphs.contract import Graph
from ...graphs.errors import BundleError
from ...graphs.manifest import Program
from ...runtime.backend import Handle, Runner
from ...runtime.coreml_backend import PACKAGED_BEST_FIRST, PIXELS, as_pixels
from .converter import IMAGE
from .interpreter import Interpreter, read_package
from .interpreter.working import Rounding
from .reader import Package
from .toolbox import require_coremltools


class InterpretedBackend:
    """Loads Core ML packages into the interpreter.

    Args:
        rounding: "declared" rounds every result to its declared type, None keeps single precision throughout.
        programs: what a manifest states of the packages, by graph; of one that is not in it the default function is
            taken, and numbers as a frame.

    Raises:
        ImportError: coremltools is not installed.
    """

    variants = PACKAGED_BEST_FIRST

    def __init__(self, rounding: Rounding = "declared", programs: Mapping[str, Program] | None = None) -> None:
        require_coremltools(())
        self.rounding: Rounding = rounding
        self._programs = dict(programs or {})
        self._packages: dict[Path, Package] = {}

    def reading(self, programs: Mapping[str, Program]) -> InterpretedBackend:
        """The same backend, told what the manifest states of a variant's packages, by graph."""
        return InterpretedBackend(self.rounding, programs)

    def load(self, graph: Graph, path: Path) -> Runner:
        """Read the package of `graph`, and check its edges.

        Raises:
            BundleError: its edges are not the contract's.
            ProgramError: it cannot be read, or uses what the interpreter does not cover.
        """
        if path not in self._packages:
            self._packages[path] = read_package(path)
        program = self._programs.get(graph.name)
        interpreter = Interpreter(self._packages[path], program.function if program else None, self.rounding)
        for side, ports, variables in (
            ("inputs", graph.inputs, interpreter.inputs),
            ("outputs", graph.outputs, interpreter.outputs),
        ):
            wanted = {port.name: port.shape for port in ports}
            found = {variable.name: variable.type.shape for variable in variables}
            if wanted != found:
                raise BundleError(f"{path}: the {side} of {graph.name} should be {wanted}, found {found}")
        return _as_app(interpreter) if program and program.frame == PIXELS else interpreter

    def place(self, array: NDArray[np.float32]) -> Handle:
        """A handle is the array itself."""
        return array


def _as_app(interpreter: Interpreter) -> Runner:
    """A function that takes a frame as an image of 8 bits: the frame is rounded to what that can hold."""

    def run(**inputs: Any) -> dict[str, Any]:
        pixels = as_pixels(inputs.pop(IMAGE))
        return interpreter(**{IMAGE: pixels.transpose(2, 0, 1)[None].astype(np.float32)}, **inputs)

    return run
