"""Half precision: edges that stay, digits that must, and what real weights lose, on the CPU through casts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="converts ONNX models")
onnxruntime = pytest.importorskip("onnxruntime", reason="runs them")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from painted_video import disc_frames, discs  # noqa: E402

from etam_onnx.conversion.half import to_half  # noqa: E402
from etam_onnx.graphs.bundle import Bundle  # noqa: E402
from etam_onnx.graphs.contract import contract  # noqa: E402
from etam_onnx.runtime.networks import Networks  # noqa: E402
from etam_onnx.runtime.onnxruntime_backend import OnnxRuntimeBackend  # noqa: E402
from etam_onnx.runtime.parity import relative_error  # noqa: E402
from etam_onnx.runtime.tracker import Tracker  # noqa: E402

Feeds = dict[str, np.ndarray]
HALF_STEP = 2.0**-11
"""Largest relative error of rounding to half precision."""


def model(nodes: list[Any], feeds: Feeds, weights: Feeds, outputs: dict[str, tuple[int, ...]], kind: int = 1) -> Any:
    """A small ONNX model with the edges of these arrays."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape) for name, array in feeds.items()],
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def run(made: Any, feeds: Feeds) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def normal(*shape: int, seed: int = 0, scale: float = 1) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=shape) * scale).astype(np.float32)


def node(kind: str, inputs: str, output: str, **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(), [output], **attributes)


def half_kinds(made: Any) -> dict[str, bool]:
    """For each computing node that is not a cast: whether it reads half weights."""
    kinds = {tensor.name: tensor.data_type for tensor in made.graph.initializer}
    return {n.name or n.output[0]: any(kinds.get(i) == TensorProto.FLOAT16 for i in n.input) for n in made.graph.node}


def test_products_are_half_and_edges_are_not() -> None:
    feeds = {"x": normal(4, 64)}
    made = model([node("MatMul", "x w", "y")], feeds, {"w": normal(64, 32, seed=1)}, {"y": (4, 32)})
    before = made.SerializeToString()
    half = to_half(made)
    assert made.SerializeToString() == before
    assert to_half(made).SerializeToString() == half.SerializeToString()
    assert [n.op_type for n in half.graph.node] == ["Cast", "MatMul", "Cast"]
    assert (list(half.graph.input), list(half.graph.output)) == (list(made.graph.input), list(made.graph.output))
    assert [tensor.data_type for tensor in half.graph.initializer] == [TensorProto.FLOAT16]
    (found,), (expected,) = run(half, feeds), run(made, feeds)
    assert 0 < relative_error(found, expected) < 2 * HALF_STEP


def test_a_variance_may_exceed_the_largest_half() -> None:
    """Channel normalisation written out: squares of 2,000 are 4 million, the root of their mean is small again."""
    feeds = {"x": normal(1, 64, 4, 4, scale=2000)}
    axes = {"axes": np.asarray([1], np.int64), "epsilon": np.asarray([1e-6], np.float32), "w": normal(8, 64, 1, 1)}
    nodes = [
        node("Conv", "x identity", "projected"),
        node("ReduceMean", "projected axes", "mean"),
        node("Sub", "projected mean", "centred"),
        node("Mul", "centred centred", "squares"),
        node("ReduceMean", "squares axes", "variance"),
        node("Add", "variance epsilon", "safe"),
        node("Sqrt", "safe", "root"),
        node("Div", "centred root", "normal"),
        node("Conv", "normal w", "y"),
    ]
    weights = axes | {"identity": np.eye(64, dtype=np.float32).reshape(64, 64, 1, 1)}
    made = model(nodes, feeds, weights, {"y": (1, 8, 4, 4)})
    half = to_half(made)
    (found,), (expected,) = run(half, feeds), run(made, feeds)
    assert relative_error(found, expected) < 4 * HALF_STEP
    kinds = {n.output[0]: n for n in half.graph.node}
    assert list(kinds["safe"].input) == ["variance", "epsilon"]  # nothing is rounded on the way
    assert list(kinds["root"].input) == ["safe"]


def test_phases_of_points_keep_their_fraction() -> None:
    feeds = {"points": np.asarray([[1023.5, 511.25], [3.5, 770.75]], np.float32)}
    nodes = [
        node("Mul", "points scale", "unit"),
        node("MatMul", "unit gauss", "turns"),
        node("Sin", "turns", "wave"),
        node("MatMul", "wave w", "y"),
    ]
    weights = {
        "scale": np.asarray([0.05], np.float32),
        "gauss": normal(2, 32, scale=6),
        "w": np.eye(32, dtype=np.float32),
    }
    made = model(nodes, feeds, weights, {"y": (2, 32)})
    half = to_half(made)
    assert relative_error(run(half, feeds)[0], run(made, feeds)[0]) < 2 * HALF_STEP
    assert half_kinds(half)["turns"] is False and half_kinds(half)["y_half"] is True


def test_close_scores_are_still_told_apart() -> None:
    """The best of near-equal predicted IoUs stays the best: its head is computed in float32 from the last norm on."""
    feeds = {"x": normal(1, 64)}
    head = np.repeat(normal(64, 1, seed=3), 4, 1)
    head[0] += np.asarray([0, 3e-5, 2e-5, 1e-5], np.float32) * np.sign(normal(1, 64)[0, 0])
    nodes = [
        node("MatMul", "x w", "token"),
        node("LayerNormalization", "token gain", "normed", axis=-1),
        node("MatMul", "normed head", "scores"),
        node("ArgMax", "scores", "best", axis=-1, keepdims=0),
    ]
    weights = {"w": np.eye(64, dtype=np.float32), "gain": np.ones(64, np.float32), "head": head}
    made = model(nodes, feeds, weights, {"best": (1,)}, TensorProto.INT64)
    half = to_half(made)
    assert half_kinds(half)["scores"] is False and half_kinds(half)["token"] is True
    (expected,) = run(made, feeds)
    assert expected != 0 and len(set(head[0].astype(np.float16))) == 1  # in half they would all be equal
    np.testing.assert_array_equal(run(half, feeds)[0], expected)


def test_a_mask_is_compared_with_its_threshold_as_it_came() -> None:
    """Logits that half precision would take for zero are on one side of it."""
    feeds = {"mask_logits": np.asarray([[1e-9, -1e-9, 3.0, -3.0]], np.float32)}
    nodes = [
        node("Reshape", "mask_logits shape", "flat"),
        node("Mul", "flat steep", "scaled"),
        node("Clip", "scaled zero one", "binary"),
        node("MatMul", "binary w", "y"),
    ]
    weights = {
        "shape": np.asarray([1, 4], np.int64),
        "steep": np.asarray([1e12], np.float32),
        "zero": np.asarray(0, np.float32),
        "one": np.asarray(1, np.float32),
        "w": np.eye(4, dtype=np.float32),
    }
    made = model(nodes, feeds, weights, {"y": (1, 4)})
    np.testing.assert_array_equal(run(to_half(made), feeds)[0], [[1, 0, 1, 0]])


def test_a_mask_beyond_the_largest_half_still_masks() -> None:
    feeds = {"x": normal(4, 8)}
    bias = np.asarray([0, 0, 0, 0, 0, 0, -1e9, -np.inf], np.float32)
    nodes = [
        node("MatMul", "x w", "scores"),
        node("Add", "scores bias", "masked"),
        node("Softmax", "masked", "weights", axis=-1),
        node("MatMul", "weights w", "y"),
    ]
    made = model(nodes, feeds, {"w": np.eye(8, dtype=np.float32), "bias": bias}, {"y": (4, 8)})
    (found,) = run(to_half(made), feeds)
    assert not found[:, 6:].any() and np.isfinite(found).all()
    assert relative_error(found, run(made, feeds)[0]) < 4 * HALF_STEP


def test_fused_attention_between_norms() -> None:
    """An operator whose types the ONNX package does not know."""
    feeds = {"x": normal(1, 6, 16)}
    nodes = [
        node("LayerNormalization", "x gain", "normed", axis=-1),
        node("MatMul", "normed w", "q"),
        helper.make_node("MultiHeadAttention", ["q", "q", "q"], ["read"], domain="com.microsoft", num_heads=2),
        node("Add", "x read", "sum"),
        node("LayerNormalization", "sum gain", "y", axis=-1),
    ]
    made = model(nodes, feeds, {"gain": np.ones(16, np.float32), "w": normal(16, 16, seed=2)}, {"y": (1, 6, 16)})
    half = to_half(made)
    assert [n.op_type for n in half.graph.node].count("Cast") == 3
    assert relative_error(run(half, feeds)[0], run(made, feeds)[0]) < 8 * HALF_STEP


def test_models_that_cannot_be_converted() -> None:
    feeds = {"x": normal(2, 2)}
    made = model([node("MatMul", "x w", "y")], feeds, {"w": normal(2, 2)}, {"y": (2, 2)})
    made.graph.initializer[0].data_location = TensorProto.EXTERNAL
    with pytest.raises(ValueError, match=r"^small: the weights should be loaded before"):
        to_half(made)
    branch = helper.make_graph([], "branch", [], [])
    choice = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    with pytest.raises(ValueError, match=r"^small: If holds a graph"):
        to_half(model([choice], feeds, {}, {"y": (2, 2)}))


def recorded(networks: Networks, calls: list[tuple[str, Feeds, Feeds]]) -> Networks:
    """Networks that write down every call."""

    def recording(name: str, runner: Callable[..., Any]) -> Callable[..., Any]:
        def call(**inputs: Any) -> Any:
            outputs = runner(**inputs)
            calls.append((name, inputs, outputs))
            return outputs

        return call

    return replace(networks, runners={name: recording(name, runner) for name, runner in networks.runners.items()})


def test_the_shipped_weights_in_half_precision(tmp_path: Path) -> None:
    """Measured: features 8e-4, fused 6e-4, memory 3e-4, mask logits 9e-4, IoU and presence 9e-5; masks differ by less
    than a pixel in a thousand.
    """
    bundle = Bundle.open("etam-nano")
    backend, graphs = OnnxRuntimeBackend("cpu", 1), contract(bundle.manifest.geometry)
    single = Networks.open(bundle, threads=1, variant="portable")
    runners = {}
    for name, path in bundle.graph_paths("portable").items():
        half = to_half(onnx.load(path))
        onnx.checker.check_model(half)
        onnx.save(half, tmp_path / path.name)
        runners[name] = backend.load(graphs[name], tmp_path / path.name)
    calls: list[tuple[str, Feeds, Feeds]] = []
    masks = [tracked(networks) for networks in (recorded(single, calls), replace(single, runners=runners))]
    for name, inputs, outputs in calls:
        found = runners[name](**inputs)
        for port, expected in outputs.items():
            assert relative_error(found[port], expected) < (5e-4 if port in ("iou", "presence") else 4e-3), (name, port)
    for ours, theirs in zip(*masks, strict=True):
        assert np.count_nonzero(theirs) > 200
        assert np.count_nonzero(ours & theirs) / np.count_nonzero(ours | theirs) > 0.99


def tracked(networks: Networks) -> list[np.ndarray]:
    """Masks of a painted disc."""
    tracker, found = Tracker(networks), []
    for index, frame in enumerate(disc_frames(3)):
        result = tracker.step(frame)
        if index == 0:
            y, x = np.argwhere(next(iter(discs(0).values()))).mean(0)
            result = tracker.prompt(1, points=[[x, y]], labels=[1])
        found.append(result.masks[0])
    return found
