"""Exports that read graphs of a bundle where tracing them again would give the same."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from torch import nn

from etam_onnx import Bundle
from etam_onnx.conversion import bundle_writer
from etam_onnx.conversion.onnx_graph import export_graph
from etam_onnx.graphs.contract import Graph, contract
from etam_onnx.graphs.variants import ORT, PORTABLE


def read_all_but(traced: tuple[str, ...], bundle: Path, patch: pytest.MonkeyPatch) -> None:
    """Exports trace the graphs whose names begin so, and read every other one from a bundle of the same weights.

    What they write is checked and measured as ever: a graph of other weights or edges is out of tolerance.
    """
    portable = contract(Bundle.open(bundle).manifest.geometry)

    def traced_or_read(module: nn.Module, graph: Graph) -> onnx.ModelProto:
        if graph.name.startswith(traced):
            return export_graph(module, graph)
        edges = PORTABLE if graph == portable.get(graph.name) else ORT
        return onnx.load(bundle / edges / f"{graph.name}.onnx")

    patch.setattr(bundle_writer, "export_graph", traced_or_read)
