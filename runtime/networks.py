"""The loaded graphs of a bundle on a device: what every predictor shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..graphs.bundle import DEFAULT, Bundle
from ..graphs.errors import BundleError
from ..graphs.manifest import Manifest
from .backend import Backend, Runner
from .onnxruntime_backend import OnnxRuntimeBackend


@dataclass(frozen=True)
class Networks:
    """One runner per graph of the contract, and the manifest with the numbers a host needs.  `source`: where it
    came from.
    """

    manifest: Manifest
    runners: Mapping[str, Runner]
    source: str = ""

    @classmethod
    def open(
        cls,
        bundle: str | Path | Bundle | Networks = DEFAULT,
        device: str = "cpu",
        *,
        backend: Backend | None = None,
        threads: int | None = None,
    ) -> Networks:
        """Load a bundle's graphs.

        Args:
            bundle: a shipped bundle's name, a bundle's folder, an opened bundle, or networks that are loaded already.
            device: ``cpu`` or ``cuda``.
            backend: what runs the graphs, instead of ONNX Runtime on `device`.
            threads: threads of one operator on the CPU, by default one per core.

        Raises:
            BundleError: the bundle is missing, damaged, or its files disagree with the contract.
            DeviceError: the device is not to be had.
        """
        if isinstance(bundle, Networks):
            return bundle
        opened = Bundle.open(bundle)
        chosen = backend or OnnxRuntimeBackend(device, threads)
        variant = next((v for v in chosen.variants if v in opened.manifest.variants), None)
        if variant is None:
            raise BundleError(
                f"the bundle {opened.root} has the variants {sorted(opened.manifest.variants)}, "
                f"this device runs {list(chosen.variants)}"
            )
        paths = opened.graph_paths(variant)
        runners = {name: chosen.load(graph, paths[name]) for name, graph in opened.graphs.items()}
        return cls(opened.manifest, runners, str(opened.root))
