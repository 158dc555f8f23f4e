"""The Core ML backend: packages through coremltools' `MLModel`, on macOS.  What computes them is Core ML's choice."""

from __future__ import annotations

import importlib
import platform
import warnings
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..graphs.contract import Graph
from ..graphs.manifest import Program
from ..graphs.variants import PACKAGED, system_of
from .backend import Backend, Handle, Runner, check_inputs
from .errors import BundleError, DeviceError

COREML = "coreml"
"""Name of the device."""
UNITS = {"all": "ALL", "cpu_only": "CPU_ONLY", "cpu_and_ne": "CPU_AND_NE", "cpu_and_gpu": "CPU_AND_GPU"}
"""What Core ML may compute on, and coremltools' names for that."""
OLDEST_MACOS = {"iOS18": 15, "iOS17": 14}
"""The macOS with the Core ML of each iOS, newest first."""
PACKAGED_BEST_FIRST = tuple(
    PACKAGED[system, precision] for precision in ("fp16", "int8", "palette6") for system in OLDEST_MACOS
)
"""Variants for Core ML: first what the weights lose, then how new the operators are."""
PIXELS = "pixels"
"""What a manifest says of a package that takes a frame as an image."""
MAIN = "main"
"""The only function of a package that is not made of several."""


@runtime_checkable
class PackageBackend(Protocol):
    """A backend for packages: a path alone does not say which function of a package computes a graph."""

    def reading(self, programs: Mapping[str, Program]) -> Backend:
        """The same backend, told what the manifest states of a variant's packages, by graph."""
        ...


def as_pixels(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A (1, 3, S, S) input, RGB 0..255, as an image of 8 bits: (S, S, 3), rounded to the nearest (ties to even)."""
    pixels: NDArray[np.uint8] = np.rint(image[0].transpose(1, 2, 0)).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels)


class CoreMLBackend:
    """Loads Core ML packages.

    Args:
        units: what Core ML may compute on: ``all``, ``cpu_only``, ``cpu_and_ne`` (Neural Engine) or ``cpu_and_gpu``.
        programs: what a manifest states of the packages, by graph; of a package that is not in it the function `main`
            is taken.

    Raises:
        DeviceError: this is no macOS, or too old a one; coremltools is not installed.
        ValueError: there are no such units.
    """

    def __init__(self, units: str = "all", programs: Mapping[str, Program] | None = None) -> None:
        if units not in UNITS:
            raise ValueError(f"units are {', '.join(UNITS)}, found {units!r}")
        self.units = units
        release = _macos()
        self.variants: tuple[str, ...] = tuple(
            variant for variant in PACKAGED_BEST_FIRST if release >= OLDEST_MACOS[system_of(variant)]
        )
        self._tools = _coremltools()
        self._programs = dict(programs or {})

    def reading(self, programs: Mapping[str, Program]) -> CoreMLBackend:
        """See `PackageBackend`."""
        return CoreMLBackend(self.units, programs)

    def load(self, graph: Graph, path: Path) -> Runner:
        """Let Core ML compile and load the package of `graph`, and check its edges.

        Raises:
            BundleError: its edges are not the contract's or not what the manifest states.
            DeviceError: Core ML refuses it.
        """
        program = self._programs.get(graph.name)
        function = program.function if program else MAIN
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                # It only warns of a model that Core ML refuses, and fails later.
                warnings.filterwarnings("error", "You will not be able to run predict", RuntimeWarning)
                model = self._tools.models.MLModel(
                    str(path),
                    compute_units=getattr(self._tools.ComputeUnit, UNITS[self.units]),
                    function_name=None if function == MAIN else function,
                )
        except Exception as error:  # coremltools raises a dozen unrelated types here
            raise DeviceError(f"Core ML cannot load {graph.name} of {path}: {_first_line(error)}") from error
        description = _description(model, function)
        _check_edges(graph, description, path)
        edges = {feature.name: feature.type for feature in description.input}
        images = {name for name, kind in edges.items() if kind.WhichOneof("Type") == "imageType"}
        if program and bool(images) != (program.frame == PIXELS):
            stated, found = program.frame or "nothing", "an image" if images else "no image"
            raise BundleError(f"{path}: the manifest says that it takes {stated} as a frame, it takes {found}")
        half = {name for name in edges if name not in images and _is_half(edges[name])}
        return _PackageRunner(model, graph, images, half)

    def place(self, array: NDArray[np.float32]) -> Handle:
        """A handle is the array itself: Core ML takes its inputs from the host."""
        return array


class _PackageRunner:
    """One function of a package; calls of several threads take turns, as Core ML asks for."""

    def __init__(self, model: Any, graph: Graph, images: set[str], half: set[str]) -> None:
        self._model = model
        self._graph = graph
        self._images = images
        self._half = half
        self._lock = Lock()

    def __call__(self, **inputs: Handle) -> dict[str, Handle]:
        check_inputs(self._graph, inputs)
        features = {name: self._feature(name, value) for name, value in inputs.items()}
        try:
            with self._lock:
                found = self._model.predict(features)
        except Exception as error:  # coremltools raises a dozen unrelated types here
            raise DeviceError(f"{self._graph.name} failed on Core ML: {_first_line(error)}") from error
        return {port.name: np.array(found[port.name], np.float32).reshape(port.shape) for port in self._graph.outputs}

    def _feature(self, name: str, value: NDArray[np.float32]) -> Any:
        if name in self._images:
            return Image.fromarray(as_pixels(value))
        return np.ascontiguousarray(value, np.float16 if name in self._half else np.float32)


def _macos() -> int:
    """Number of this macOS."""
    if platform.system() != "Darwin":
        raise DeviceError(
            f"device {COREML!r} needs macOS, this is {platform.system() or 'another system'}: take 'cpu' here"
        )
    version = platform.mac_ver()[0]
    number = int(version.split(".")[0]) if version.split(".")[0].isdigit() else 0
    oldest = min(OLDEST_MACOS.values())
    if number < oldest:
        raise DeviceError(f"device {COREML!r} needs macOS {oldest} or later, this is {version or 'an unknown one'}")
    return number


def _coremltools() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("coremltools")
    except ImportError as error:
        raise DeviceError(
            f"device {COREML!r} needs coremltools, which is not installed: pip install 'coremltools>=9.0'"
        ) from error


def _description(model: Any, function: str) -> Any:
    """The message that describes the edges of a function to an app."""
    description = model.get_spec().description
    return next((found for found in description.functions if found.name == function), description)


def _check_edges(graph: Graph, description: Any, path: Path) -> None:
    """The package's edges must be the contract's: names, and shapes where it states them."""
    for side, ports, features in (
        ("input", graph.inputs, description.input),
        ("output", graph.outputs, description.output),
    ):
        have = {feature.name: feature.type for feature in features}
        for port in ports:
            if port.name not in have:
                raise BundleError(f"{path}: {side} {port.name} of {graph.name} is missing, found {sorted(have)}")
            shape = _shape(have[port.name])
            if shape not in ((), port.shape):
                raise BundleError(f"{path}: {side} {port.name} of {graph.name}: expected {port.shape}, found {shape}")
        extra = sorted(set(have) - {port.name for port in ports})
        if extra:
            raise BundleError(f"{path}: unknown {side} {extra[0]} of {graph.name}")


def _shape(feature: Any) -> tuple[int, ...]:
    """As stated; an image has the shape of the array in its place, and outputs may state none."""
    if feature.WhichOneof("Type") == "imageType":
        return 1, 3, int(feature.imageType.height), int(feature.imageType.width)
    return tuple(int(size) for size in feature.multiArrayType.shape)


def _is_half(feature: Any) -> bool:
    return bool(feature.multiArrayType.dataType == feature.multiArrayType.FLOAT16)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
