"""The runners one by one, on real sessions of the CPU provider and on the recording device, for the `ort` edges."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="writes small ONNX files")
pytest.importorskip("onnxruntime", reason="runs small ONNX files")

from mixing_bundle import mixing_model
from recording_onnxruntime import RecordingRuntime
from tiny_bundle import GEOMETRY

from etam_onnx.graphs.contract import Graph
from etam_onnx.graphs.ort_contract import Deployment, ort_contract
from etam_onnx.runtime.onnxruntime_backend import OnnxRuntimeBackend
from etam_onnx.runtime.onnxruntime_device import Device
from etam_onnx.runtime.onnxruntime_runners import BoundRunner, CapturedRunner, HostRunner

GRAPHS = ort_contract(GEOMETRY, Deployment(layers=2, pool=2, memory_counts=(1, 2, 7, 8)))
WRITER, READER = GRAPHS["memory_encoder"], GRAPHS["memory_attention_2"]
WAYS = {"bound": BoundRunner, "captured": CapturedRunner}
Make = Callable[[Graph], Any]
Truth = Callable[[Graph, dict[str, np.ndarray]], dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An ONNX file for every graph of the `ort` variant that mixes all its inputs."""
    folder = tmp_path_factory.mktemp("graphs")
    paths = {name: folder / f"{name}.onnx" for name in GRAPHS}
    for name, path in paths.items():
        path.write_bytes(mixing_model(GRAPHS[name]).SerializeToString())
    return paths


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> RecordingRuntime:
    """The recording ONNX Runtime, in place of the real one."""
    found = RecordingRuntime()
    monkeypatch.setitem(sys.modules, "onnxruntime", found)
    return found


@pytest.fixture(params=[(where, way) for where in ("cpu", "cuda") for way in WAYS], ids=lambda pair: "-".join(pair))
def make(request: pytest.FixtureRequest, files: dict[str, Path]) -> Make:
    """Makes a runner: on the real CPU provider or on the recording device, bound or captured."""
    where, way = request.param
    if where == "cuda":
        request.getfixturevalue("runtime")
    device = Device(where, threads=1)

    def made(graph: Graph) -> Any:
        return WAYS[way](device.session(files[graph.name], capture=way == "captured"), graph, device)

    return made


def inputs_of(graph: Graph, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {port.name: rng.normal(size=port.shape).astype(np.float32) for port in graph.inputs}


@pytest.fixture(scope="module")
def truth(files: dict[str, Path]) -> Truth:
    """What a graph gives on the CPU; asked for before the recording device takes ONNX Runtime's name."""
    import onnxruntime

    runners = {}
    for name, path in files.items():
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        runners[name] = HostRunner(session, GRAPHS[name])
    return lambda graph, inputs: runners[graph.name](**inputs)


def host(value: Any) -> np.ndarray:
    return value if isinstance(value, np.ndarray) else np.array(value.numpy())


def test_every_graph_gives_what_the_cpu_gives(truth: Truth, make: Make) -> None:
    for name in GRAPHS:
        graph, runner = GRAPHS[name], make(GRAPHS[name])
        for seed in range(3):
            found = runner(**inputs_of(graph, seed))
            assert list(found) == [port.name for port in graph.outputs]
            for port in graph.outputs:
                assert isinstance(found[port.name], np.ndarray) is port.host
                np.testing.assert_array_equal(host(found[port.name]), truth(graph, inputs_of(graph, seed))[port.name])


def test_what_was_handed_out_is_not_written_again(make: Make) -> None:
    writer, decoder = make(WRITER), make(GRAPHS["tracked_decoder"])
    memories = [writer(**inputs_of(WRITER, seed))["memory"] for seed in range(4)]
    before = [host(memory) for memory in memories]
    masks = [decoder(**inputs_of(GRAPHS["tracked_decoder"], seed))["mask_logits"] for seed in range(4)]
    copies = [mask.copy() for mask in masks]
    for seed in range(4, 8):
        writer(**inputs_of(WRITER, seed))
        decoder(**inputs_of(GRAPHS["tracked_decoder"], seed))
    masks[3][:] = 0
    assert len({memory.tobytes() for memory in before}) == len({mask.tobytes() for mask in copies}) == 4
    for memory, expected in zip(memories, before, strict=True):
        np.testing.assert_array_equal(host(memory), expected)
    for mask, expected in zip(masks[:3], copies, strict=False):
        np.testing.assert_array_equal(mask, expected)


def test_handles_of_one_graph_are_read_by_another(truth: Truth, make: Make) -> None:
    """Memories change places, come back, go away and are followed by others at the same address."""
    writer, reader = make(WRITER), make(READER)
    rest = {name: value for name, value in inputs_of(READER, 0).items() if "memory_0" not in name}
    pool = make(GRAPHS["memory_keys"])
    pooled = [pool(memory=writer(**inputs_of(WRITER, seed))["memory"])["pooled"] for seed in range(3)]
    for first, second in ((0, 1), (1, 0), (1, 2), (1, 2), (0, 0), (2, 1)):
        given = {"memory_00": pooled[first], "memory_01": pooled[second]}
        expected = truth(READER, {**rest, **{name: host(value) for name, value in given.items()}})["fused"]
        np.testing.assert_array_equal(host(reader(**rest, **given)["fused"]), expected)
    del given, pooled
    for seed in range(3, 9):
        gc.collect()
        fresh = pool(memory=writer(**inputs_of(WRITER, seed))["memory"])["pooled"]
        given = {"memory_00": fresh, "memory_01": fresh}
        expected = truth(READER, {**rest, "memory_00": host(fresh), "memory_01": host(fresh)})["fused"]
        np.testing.assert_array_equal(host(reader(**rest, **given)["fused"]), expected)
        del fresh, given


def test_threads_take_turns(truth: Truth, make: Make) -> None:
    runner = make(WRITER)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda seed: host(runner(**inputs_of(WRITER, seed))["memory"]), range(16)))
    for seed, memory in enumerate(found):
        np.testing.assert_array_equal(memory, truth(WRITER, inputs_of(WRITER, seed))["memory"])


def test_inputs_that_do_not_fit_are_named(truth: Truth, make: Make) -> None:
    runner, inputs = make(WRITER), inputs_of(WRITER, 0)
    with pytest.raises(ValueError, match=r"^memory_encoder: the input binarize is missing$"):
        runner(features=inputs["features"], mask_logits=inputs["mask_logits"])
    with pytest.raises(ValueError, match=r"^memory_encoder: the input extra is unknown$"):
        runner(**inputs, extra=inputs["binarize"])
    flat = inputs["mask_logits"].reshape(1, -1)
    with pytest.raises(ValueError, match=r"^mask_logits: expected the shape \(1, 1, 16, 16\), found \(1, 256\)$"):
        runner(**{**inputs, "mask_logits": flat})
    doubles = {**inputs, "binarize": np.asarray([1.0]), "mask_logits": inputs["mask_logits"][..., ::-1]}
    singles = {name: np.ascontiguousarray(value, np.float32) for name, value in doubles.items()}
    np.testing.assert_array_equal(host(runner(**doubles)["memory"]), truth(WRITER, singles)["memory"])


def test_a_placed_tensor_crosses_once(files: dict[str, Path], runtime: RecordingRuntime) -> None:
    backend = OnnxRuntimeBackend("cuda", cuda_graphs=False)
    runner, inputs = backend.load(WRITER, files[WRITER.name]), inputs_of(WRITER, 0)
    handle = backend.place(inputs["features"])
    once = {**inputs, "features": handle}
    small = inputs["mask_logits"].nbytes + inputs["binarize"].nbytes
    for given, crossing in ((inputs, inputs["features"].nbytes), (once, 0), (once, 0)):
        runtime.traffic.clear()
        runner(**given)
        assert sum(runtime.traffic.up) == small + crossing


def test_objects_that_share_a_frame_share_its_copy(files: dict[str, Path], runtime: RecordingRuntime) -> None:
    backend = OnnxRuntimeBackend("cuda")
    runner, inputs = backend.load(WRITER, files[WRITER.name]), inputs_of(WRITER, 0)
    memory = next(4 * int(np.prod(port.shape)) for port in WRITER.outputs)
    first, second = backend.place(inputs["features"]), backend.place(inputs["features"])
    for handle, copied in ((first, True), (first, False), (second, True), (first, True), (first, False)):
        runtime.traffic.clear()
        runner(**{**inputs, "features": handle})
        assert runtime.traffic.across == [inputs["features"].nbytes] * copied + [memory]


def test_placing_on_the_cpu_is_free() -> None:
    array = np.ones((2, 3), np.float32)
    assert OnnxRuntimeBackend("cpu").place(array) is array
