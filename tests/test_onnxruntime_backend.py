"""The ONNX Runtime backend: it runs what agrees with the contract and names what does not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="writes small ONNX files")
pytest.importorskip("onnxruntime", reason="runs small ONNX files")

from tiny_bundle import GRAPHS, WEIGHTS, edit_manifest, little_files, little_model, record_again, write_bundle

from etam_onnx.graphs.contract import Graph, Port
from etam_onnx.runtime.errors import BundleError, DeviceError
from etam_onnx.runtime.image_predictor import ImagePredictor
from etam_onnx.runtime.networks import Networks
from etam_onnx.runtime.onnxruntime_backend import OnnxRuntimeBackend
from etam_onnx.runtime.tracker import Tracker
from etam_onnx.runtime.video_predictor import VideoPredictor

FRAME = np.full((48, 80, 3), 100, np.uint8)
DECODER = GRAPHS["mask_decoder"]


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """The files of a bundle that runs."""
    return little_files()


@pytest.fixture
def bundle(tmp_path: Path, files: dict[str, bytes]) -> Path:
    """The folder of a bundle that runs."""
    return write_bundle(tmp_path / "bundle", files)


def save(folder: Path, model: Any) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_a_bundle_runs_in_every_predictor(bundle: Path) -> None:
    networks = Networks.open(bundle, threads=1)
    assert Networks.open(networks) is networks
    assert (set(networks.runners), networks.source) == (set(GRAPHS), str(bundle))
    memory = networks.runners["memory_encoder"](
        **{port.name: np.zeros(port.shape, np.float32) for port in GRAPHS["memory_encoder"].inputs}
    )["memory"]
    np.testing.assert_array_equal(
        memory.ravel(), np.linspace(-4, 4, memory.size).astype(np.float32)
    )  # from weights.bin
    predictor = VideoPredictor(networks)
    state = predictor.init_state([FRAME] * 9)
    predictor.add_new_points_or_box(state, 0, 1, [[5, 5]], [1])
    assert [logits.shape for _, _, logits in predictor.propagate_in_video(state)] == [(1, 1, 48, 80)] * 9
    image = ImagePredictor(bundle)
    image.set_image(FRAME)
    assert image.predict([[5, 5]], [1])[0].shape == (3, 48, 80)


def test_a_saved_tracker_goes_on_with_its_bundle_wherever_that_is(bundle: Path, tmp_path: Path) -> None:
    tracker = Tracker(bundle)
    for index in range(4):
        tracker.step(FRAME)
        if index == 0:
            tracker.prompt(1, points=[[5, 5]], labels=[1])
    tracker.save(tmp_path / "saved")
    expected = tracker.step(FRAME)
    np.testing.assert_array_equal(Tracker.restore(tmp_path / "saved").step(FRAME).logits, expected.logits)
    bundle.rename(tmp_path / "moved")
    with pytest.raises(BundleError, match="there is no bundle"):
        Tracker.restore(tmp_path / "saved")
    restored = Tracker.restore(tmp_path / "saved", bundle=tmp_path / "moved")
    np.testing.assert_array_equal(restored.step(FRAME).logits, expected.logits)


def renamed(port: Port, name: str) -> Port:
    return replace(port, name=name)


@pytest.mark.parametrize(
    ("edges", "sentence"),
    [
        (
            lambda graph: {"inputs": graph.inputs[:-1]},
            r"input mask_used is missing, found \['features', 'mask_input', 'point_label', 'points'\]",
        ),
        (
            lambda graph: {"outputs": graph.outputs[1:]},
            r"output mask_logits is missing, found \['iou', 'mask_pointers', 'presence'\]",
        ),
        (
            lambda graph: {"inputs": (*graph.inputs[:-1], renamed(graph.inputs[-1], "used"))},
            r"input mask_used is missing, found \[.*'used'\]",
        ),
        (
            lambda graph: {"inputs": (*graph.inputs, renamed(graph.inputs[-1], "extra"))},
            "unknown input extra",
        ),
        (
            lambda graph: {"outputs": (*graph.outputs, renamed(graph.outputs[-1], "extra"))},
            "unknown output extra",
        ),
        (
            lambda graph: {"inputs": (*graph.inputs[:-1], replace(graph.inputs[-1], shape=(2,)))},
            r"input mask_used: expected float32 \(1,\), found tensor\(float\) \(2,\)",
        ),
        (
            lambda graph: {"outputs": (replace(graph.outputs[0], shape=(1, 3, 16, 16)), *graph.outputs[1:])},
            r"output mask_logits: expected float32 \(1, 4, 16, 16\), found tensor\(float\) \(1, 3, 16, 16\)",
        ),
        (
            lambda graph: {"inputs": (replace(graph.inputs[0], shape=("batch", 8, 4, 4)), *graph.inputs[1:])},
            r"input features: expected float32 \(1, 8, 4, 4\), found tensor\(float\) \('batch', 8, 4, 4\)",
        ),
        (
            lambda graph: {"half": True},
            r"input features: expected float32 \(1, 8, 4, 4\), found tensor\(float16\) \(1, 8, 4, 4\)",
        ),
    ],
)
def test_edges_that_are_not_the_contracts(tmp_path: Path, edges: Callable[[Graph], Any], sentence: str) -> None:
    path = save(tmp_path, little_model(DECODER, **edges(DECODER)))
    with pytest.raises(BundleError, match=rf"model.onnx: {sentence}"):
        OnnxRuntimeBackend("cpu").load(DECODER, path)


def test_files_that_onnxruntime_cannot_load(tmp_path: Path) -> None:
    backend = OnnxRuntimeBackend("cpu")
    path = tmp_path / "model.onnx"
    intact = little_model(DECODER).SerializeToString()
    for content in (b"", b"garbage", intact[: len(intact) // 2]):
        path.write_bytes(content)
        with pytest.raises(BundleError, match=r"model.onnx cannot be loaded by ONNX Runtime: ") as caught:
            backend.load(DECODER, path)
        assert "\n" not in str(caught.value)
    path.with_suffix(".bin").write_bytes(intact)
    with pytest.raises(BundleError, match=r"model.bin should be an .onnx file"):
        backend.load(DECODER, path.with_suffix(".bin"))


def test_a_damaged_bundle_is_refused_before_it_is_loaded(bundle: Path) -> None:
    (bundle / WEIGHTS).write_bytes(bytes((bundle / WEIGHTS).stat().st_size))
    with pytest.raises(BundleError, match=r"weights.bin is damaged: its SHA-256"):
        Networks.open(bundle)


def test_references_are_checked_whatever_a_file_is_called(bundle: Path) -> None:
    """A file that is not called .onnx has not been searched for references, so it is not loaded either."""
    (bundle / "portable/memory_encoder.onnx").rename(bundle / "portable/memory_encoder.model")
    record_again(bundle, "portable/memory_encoder.model")
    edit_manifest(bundle, lambda m: m["variants"]["portable"].update(memory_encoder="portable/memory_encoder.model"))
    with pytest.raises(BundleError, match=r"memory_encoder.model should be an .onnx file"):
        Networks.open(bundle)


def test_a_bundle_without_a_variant_for_the_device(tmp_path: Path, files: dict[str, bytes]) -> None:
    bundle = write_bundle(tmp_path / "bundle", files, variant="elsewhere")
    with pytest.raises(
        BundleError, match=r"has the variants \['elsewhere'\], this device runs \[.*'portable', 'ort-fp16'\]"
    ):
        Networks.open(bundle)


def test_an_unknown_device(bundle: Path) -> None:
    with pytest.raises(DeviceError, match=r"unknown device 'tpu', expected one of \['cpu', 'cuda'\]"):
        Tracker(bundle, "tpu")


@pytest.mark.parametrize(("device", "extra"), [("cpu", "cpu"), ("cuda", "gpu")])
def test_a_missing_runtime_names_what_to_install(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, device: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DeviceError, match=rf"needs ONNX Runtime.*: pip install 'etam-onnx\[{extra}\]'"):
        Tracker(bundle, device)


def test_a_runtime_without_the_provider_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(get_available_providers=lambda: ["CPUExecutionProvider"])
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    with pytest.raises(
        DeviceError, match=r"'cuda' needs CUDAExecutionProvider, .* only CPUExecutionProvider: pip install"
    ):
        OnnxRuntimeBackend("cuda")
