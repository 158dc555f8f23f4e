"""On a real CUDA device, where there is one: every edge of the shipped graphs, captured and not, against the CPU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="runs the shipped graphs")

from painted_video import disc_frames, discs

from etam_onnx.graphs.bundle import Bundle
from etam_onnx.graphs.variants import precision_of
from etam_onnx.runtime.errors import DeviceError
from etam_onnx.runtime.networks import Networks
from etam_onnx.runtime.onnxruntime_backend import BEST_FIRST, OnnxRuntimeBackend
from etam_onnx.runtime.parity import replay
from etam_onnx.runtime.tracker import Tracker

BUNDLE = Bundle.open("etam-nano")
VARIANTS = [variant for variant in BEST_FIRST["cuda"] if variant in BUNDLE.manifest.variants]
Call = tuple[str, dict[str, Any], dict[str, Any]]


def on_cuda(variant: str, cuda_graphs: bool = True) -> tuple[OnnxRuntimeBackend, Networks]:
    """The shipped graphs on the device; skips where there is none."""
    try:
        backend = OnnxRuntimeBackend("cuda", cuda_graphs=cuda_graphs)
    except DeviceError as error:
        pytest.skip(f"needs a CUDA device: {error}")
    return backend, Networks.open(BUNDLE, backend=backend, variant=variant)


def tracked(networks: Networks, calls: list[Call] | None = None) -> list[np.ndarray]:
    """Masks of two painted discs; writes down the calls of the graphs."""
    if calls is not None:

        def recorded(name: str, runner: Any) -> Any:
            def call(**inputs: Any) -> Any:
                calls.append((name, inputs, runner(**inputs)))
                return calls[-1][2]

            return call

        networks = replace(networks, runners={name: recorded(name, run) for name, run in networks.runners.items()})
    tracker, found = Tracker(networks), []
    for index, frame in enumerate(disc_frames(4)):
        result = tracker.step(frame)
        if index == 0:
            for number, mask in enumerate(discs(0).values()):
                y, x = np.argwhere(mask).mean(0)
                result = tracker.prompt(number, points=[[x, y]], labels=[1])
        found.append(result.masks)
    return found


@pytest.mark.parametrize("cuda_graphs", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_edge_is_that_of_the_cpu(variant: str, cuda_graphs: bool) -> None:
    _, networks = on_cuda(variant, cuda_graphs)
    calls: list[Call] = []
    expected = tracked(Networks.open(BUNDLE, variant=variant), calls)
    errors = replay(BUNDLE.graphs_of(variant), networks.runners, calls, precision_of(variant))
    assert [error for error in errors if not error.passed] == []
    for ours, theirs in zip(tracked(networks), expected, strict=True):
        assert np.count_nonzero(theirs) > 200
        assert np.count_nonzero(ours != theirs) <= 2e-4 * theirs.size


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_graph_is_captured(variant: str) -> None:
    backend, networks = on_cuda(variant)
    assert backend.captured == list(networks.runners)
