"""`device="cuda"` without a GPU: what a recording ONNX Runtime sees crossing, and how a device that fails is told."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="writes small ONNX files")
pytest.importorskip("onnxruntime", reason="runs small ONNX files")

from mixing_bundle import write_mixing_bundle
from recording_onnxruntime import RecordingRuntime
from tiny_bundle import GEOMETRY, GRAPHS, ORT_GRAPHS

from etam_onnx.graphs.contract import Port, memory_attention_name
from etam_onnx.runtime.errors import DeviceError
from etam_onnx.runtime.networks import Networks
from etam_onnx.runtime.onnxruntime_backend import OnnxRuntimeBackend
from etam_onnx.runtime.tracker import Tracker

FRAMES = [np.random.default_rng(number).integers(0, 256, (48, 80, 3), np.uint8) for number in range(10)]
FULL = memory_attention_name(1 + GEOMETRY.recent_memories)
STEP = {
    "portable": ("memory_encoder", "image_encoder", FULL, "mask_decoder"),
    "ort": ("memory_encoder", "memory_keys", "image_encoder", "frame_attention", FULL, "tracked_decoder"),
}
"""Graphs of a tracked frame once all recent memories are there, each run once for one object."""
VARIANTS = {"portable": GRAPHS, "ort": ORT_GRAPHS}
MEMORY_PORTS = {"memory_row", "pointers", "pointer_used", "mask_logits", "binarize"}
STALE = {"memory_row", "features"}
PROMPT_PORTS = {"points", "point_label", "mask_input", "mask_used"}


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    """The variant of the bundle that runs."""
    return request.param


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a bundle whose graphs mix all their inputs."""
    return write_mixing_bundle(tmp_path_factory.mktemp("mixing") / "bundle")


@pytest.fixture(scope="module")
def logits(bundle: Path) -> dict[str, list[np.ndarray]]:
    """Logits of the tracked clip on the real CPU provider, by variant."""
    return {name: tracked(Tracker(Networks.open(bundle, threads=1, variant=name))) for name in VARIANTS}


@pytest.fixture
def expected(logits: dict[str, list[np.ndarray]], variant: str) -> list[np.ndarray]:
    """Those of the variant that runs."""
    return logits[variant]


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> RecordingRuntime:
    """The recording ONNX Runtime, in place of the real one."""
    found = RecordingRuntime()
    monkeypatch.setitem(sys.modules, "onnxruntime", found)
    return found


def on_cuda(bundle: Path, variant: str, cuda_graphs: bool = True) -> Networks:
    return Networks.open(bundle, backend=OnnxRuntimeBackend("cuda", cuda_graphs=cuda_graphs), variant=variant)


def tracked(tracker: Tracker, first: int = 0) -> list[np.ndarray]:
    """Logits of a clip with two objects, one of them corrected later."""
    found = []
    for number, frame in enumerate(FRAMES[first:], first):
        result = tracker.step(frame)
        if number == 0:
            tracker.prompt(1, points=[[20, 20]], labels=[1])
            result = tracker.prompt(2, box=[10, 10, 60, 40])
        if number == 4:
            result = tracker.prompt(1, points=[[70, 5]], labels=[0])
        found.append(result.logits)
    return found


def one_object(bundle: Path, variant: str, cuda_graphs: bool) -> Tracker:
    """A tracker on CUDA whose next step is an ordinary one."""
    tracker = Tracker(on_cuda(bundle, variant, cuda_graphs))
    for number, frame in enumerate(FRAMES[:9]):
        tracker.step(frame)
        if number == 0:
            tracker.prompt(1, points=[[20, 20]], labels=[1])
    return tracker


def nbytes(ports: list[Port]) -> int:
    return sum(4 * int(np.prod(port.shape)) for port in ports)


@pytest.mark.parametrize("cuda_graphs", [True, False])
def test_the_masks_are_those_of_the_cpu(
    bundle: Path, variant: str, expected: list[np.ndarray], runtime: RecordingRuntime, cuda_graphs: bool
) -> None:
    found = tracked(Tracker(on_cuda(bundle, variant, cuda_graphs)))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len({logits.tobytes() for logits in found}) == len(FRAMES)  # they depend on what was mixed in
    assert ("replay" in runtime.traffic.runs) is cuda_graphs


@pytest.mark.parametrize("cuda_graphs", [True, False])
def test_only_the_hosts_ports_cross(bundle: Path, variant: str, runtime: RecordingRuntime, cuda_graphs: bool) -> None:
    tracker = one_object(bundle, variant, cuda_graphs)
    runtime.traffic.clear()
    tracker.step(FRAMES[9])
    inputs = [port for name in STEP[variant] for port in VARIANTS[variant][name].inputs]
    outputs = [port for name in STEP[variant] for port in VARIANTS[variant][name].outputs]
    assert sum(runtime.traffic.up) == nbytes([port for port in inputs if port.host])
    assert sum(runtime.traffic.down) == nbytes([port for port in outputs if port.host])
    prompt = PROMPT_PORTS if variant == "portable" else set()
    assert {port.name for port in inputs if port.host} == {"image"} | MEMORY_PORTS | prompt
    assert {port.name for port in outputs if port.host} == {"mask_logits", "iou", "mask_pointers", "presence"}
    assert runtime.traffic.runs == ["replay" if cuda_graphs else "plain"] * len(STEP[variant])


def test_without_cuda_graphs_nothing_is_copied_within_the_device(
    bundle: Path, variant: str, runtime: RecordingRuntime
) -> None:
    tracker = one_object(bundle, variant, cuda_graphs=False)
    runtime.traffic.clear()
    tracker.step(FRAMES[9])
    assert runtime.traffic.across == []
    assert runtime.traffic.allocated == []  # uploads go where they went before


def test_with_cuda_graphs_a_step_copies_each_handle_once(bundle: Path, variant: str, runtime: RecordingRuntime) -> None:
    tracker = one_object(bundle, variant, cuda_graphs=True)
    runtime.traffic.clear()
    tracker.step(FRAMES[9])
    inputs = [port for name in STEP[variant] for port in VARIANTS[variant][name].inputs if not port.host]
    outputs = [port for name in STEP[variant] for port in VARIANTS[variant][name].outputs if not port.host]
    # The features that the memory encoder reads are those of the frame before; memories move up by a slot.
    assert sum(runtime.traffic.across) <= nbytes(inputs) + nbytes(outputs)
    assert sum(runtime.traffic.allocated) == nbytes(outputs)


@pytest.mark.parametrize(
    "fault",
    [{"capturable": False}, {"stale": tuple(STALE)}, {"copies_across": False}],
    ids=["refused", "stale", "older release"],
)
def test_a_graph_that_cannot_be_captured_runs_plainly(
    bundle: Path, variant: str, expected: list[np.ndarray], runtime: RecordingRuntime, fault: dict[str, object]
) -> None:
    for name, value in fault.items():
        setattr(runtime, name, value)
    backend = OnnxRuntimeBackend("cuda")
    networks = Networks.open(bundle, backend=backend, variant=variant)
    runtime.traffic.clear()
    found = tracked(Tracker(networks))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert "plain" in runtime.traffic.runs
    sound = [name for name, graph in VARIANTS[variant].items() if not STALE & {port.name for port in graph.inputs}]
    assert backend.captured == (sound if "stale" in fault else [])
    assert ("replay" in runtime.traffic.runs) is ("stale" in fault)


def test_a_tracker_saved_on_cuda_goes_on_anywhere(
    bundle: Path,
    tmp_path: Path,
    variant: str,
    expected: list[np.ndarray],
    runtime: RecordingRuntime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tracker = Tracker(on_cuda(bundle, variant))
    for number, frame in enumerate(FRAMES[:3]):
        tracker.step(frame)
        if number == 0:
            tracker.prompt(1, points=[[20, 20]], labels=[1])
            tracker.prompt(2, box=[10, 10, 60, 40])
    tracker.save(tmp_path / "saved")
    again = Tracker.restore(tmp_path / "saved", bundle=on_cuda(bundle, variant))
    for ours, theirs in zip(tracked(again, 3), expected[3:], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    monkeypatch.undo()
    on_cpu = Tracker.restore(tmp_path / "saved", bundle=Networks.open(bundle, threads=1, variant=variant))
    for ours, theirs in zip(tracked(on_cpu, 3), expected[3:], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_providers_options(bundle: Path, runtime: RecordingRuntime) -> None:
    on_cuda(bundle, "portable", cuda_graphs=False)
    assert [session.provider_options for session in runtime.sessions] == [
        {
            "device_id": "0",
            "use_tf32": "0",
            "cudnn_conv_algo_search": "HEURISTIC",
            "arena_extend_strategy": "kSameAsRequested",
            "enable_cuda_graph": "0",
        }
    ] * len(GRAPHS)
    runtime.sessions.clear()
    Networks.open(bundle, backend=OnnxRuntimeBackend("cuda", tf32=True), variant="portable")
    assert {session.provider_options["use_tf32"] for session in runtime.sessions} == {"1"}
    assert {session.provider_options["enable_cuda_graph"] for session in runtime.sessions} == {"1"}


def test_a_provider_that_cannot_start(
    bundle: Path, runtime: RecordingRuntime, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime.start = (
        "/src/cuda_call.cc:129 CudaCall [with ERRTYPE = cudaError] "
        "CUDA failure 100: no CUDA-capable device is detected ; GPU=0\nexpr=cudaSetDevice(0)"
    )
    with pytest.raises(DeviceError) as caught:
        Tracker(bundle, "cuda")
    assert str(caught.value) == (
        "CUDAExecutionProvider could not be started: CUDA failure 100: no CUDA-capable device is detected ; GPU=0; "
        "Failed to load libcudnn.so.9: no such file"
    )
    assert capsys.readouterr().out == ""


def test_a_fallback_to_the_cpu_is_an_error(bundle: Path, runtime: RecordingRuntime) -> None:
    runtime.leaves_nodes = True
    with pytest.raises(
        DeviceError,
        match=r"\.onnx: CUDAExecutionProvider cannot run every operator of this graph and would leave some to the CPU$",
    ):
        Tracker(bundle, "cuda")
    runtime.leaves_nodes, runtime.silent = False, True
    with pytest.raises(DeviceError, match=r"^CUDAExecutionProvider could not be started; .* CPUExecutionProvider inst"):
        Tracker(bundle, "cuda")


def test_a_device_that_fails_later(bundle: Path, runtime: RecordingRuntime) -> None:
    tracker = Tracker(bundle, "cuda")
    tracker.step(FRAMES[0])
    runtime.dies = True
    with pytest.raises(DeviceError) as caught:
        tracker.prompt(1, points=[[20, 20]], labels=[1])
    assert str(caught.value) == (
        "mask_decoder failed on CUDAExecutionProvider: CUDA failure 700: an illegal memory access"
    )
    runtime.dies = False
    tracker.prompt(1, points=[[20, 20]], labels=[1])
