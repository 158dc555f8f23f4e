"""The loaded graphs of a bundle on a device: what every predictor shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..graphs.bundle import DEFAULT, Bundle
from ..graphs.errors import BundleError
from ..graphs.manifest import Manifest
from ..graphs.variants import ORT, PORTABLE, edges_of
from .backend import Backend, Runner
from .coreml_backend import COREML, CoreMLBackend, PackageBackend
from .errors import DeviceError
from .onnxruntime_backend import OnnxRuntimeBackend
from .onnxruntime_device import PROVIDERS
from .ort_pipeline import OrtPipeline
from .pipeline import Pipeline, Place, on_the_host
from .portable_pipeline import PortablePipeline

DEVICES = (*PROVIDERS, COREML)
"""Devices by name."""


def backend_of(device: str, threads: int | None = None) -> Backend:
    """What runs graphs on a device of `DEVICES`.

    Args:
        threads: of one operator on the CPU, by default one per core.

    Raises:
        DeviceError: there is no such device, or it is not to be had here.
    """
    if device not in DEVICES:
        raise DeviceError(f"unknown device {device!r}, expected one of {sorted(PROVIDERS)} or {COREML!r}")
    return CoreMLBackend() if device == COREML else OnnxRuntimeBackend(device, threads)


@dataclass(frozen=True)
class Networks:
    """One runner per graph of a variant, and the manifest with the numbers a host needs.

    source: where it came from.  place: how the runners' backend takes a host array that is read many times.
    workers: how many objects its graphs can be run for side by side.
    """

    manifest: Manifest
    runners: Mapping[str, Runner]
    source: str = ""
    variant: str = PORTABLE
    place: Place = on_the_host
    workers: int = 1

    @classmethod
    def open(
        cls,
        bundle: str | Path | Bundle | Networks = DEFAULT,
        device: str = "cpu",
        *,
        backend: Backend | None = None,
        threads: int | None = None,
        variant: str | None = None,
    ) -> Networks:
        """Load a bundle's graphs.

        Args:
            bundle: a shipped bundle's name, a bundle's folder, an opened bundle, or networks that are loaded already.
            device: ``cpu``, ``cuda`` or ``coreml``.
            backend: what runs the graphs, instead of what `device` says.
            threads: threads of one operator on the CPU, by default one per core.
            variant: of the bundle's graphs, by default the one that the backend likes best.

        Raises:
            BundleError: the bundle is missing, damaged, lacks the variant, or its files disagree with the contract.
            DeviceError: the device is not to be had.
        """
        if isinstance(bundle, Networks):
            return bundle
        opened = Bundle.open(bundle)
        chosen = backend or backend_of(device, threads)
        usable = [v for v in chosen.variants if v in opened.manifest.variants and variant in (None, v)]
        if not usable:
            wanted = "" if variant is None else f", the one asked for is {variant!r}"
            raise BundleError(
                f"the bundle {opened.root} has the variants {sorted(opened.manifest.variants)}, "
                f"this device runs {list(chosen.variants)}{wanted}"
            )
        if isinstance(chosen, PackageBackend):
            chosen = chosen.reading(opened.manifest.programs.get(usable[0], {}))
        paths = opened.graph_paths(usable[0])
        runners = {name: chosen.load(graph, paths[name]) for name, graph in opened.graphs_of(usable[0]).items()}
        return cls(opened.manifest, runners, str(opened.root), usable[0], chosen.place, getattr(chosen, "workers", 1))

    def pipeline(self) -> Pipeline:
        """The graphs as what a predictor asks of them."""
        geometry, deployment = self.manifest.geometry, self.manifest.deployment
        if edges_of(self.variant) == ORT:
            if deployment is None:
                raise BundleError(
                    f"the manifest of {self.source or self.manifest.model} lacks the deployment of {self.variant}"
                )
            return OrtPipeline(geometry, deployment, self.runners, self.place)
        return PortablePipeline(geometry, self.runners, self.place)
