"""Even channels before quantization: the same function in floats, less error in integers."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from integer_graphs import Array, graph_of, kinds, normal, run  # noqa: E402
from onnx import helper, numpy_helper  # noqa: E402

from etam_onnx.conversion.int8 import quantize_linears, smooth_norms  # noqa: E402

node = helper.make_node
WIDTH = 32


def two_norms(*more: onnx.NodeProto, outputs: tuple[str, ...] = ("y", "z")) -> onnx.ModelProto:
    """y and z behind one norm, the second weight stored transposed; the norm behind them shares its scale."""
    nodes = [
        node("LayerNormalization", ["x", "scale", "shift"], ["n"], axis=-1),
        node("MatMul", ["n", "wy"], ["y"]),
        node("Gemm", ["n", "wz", "b"], ["z"], transB=1),
        *more,
    ]
    constants = {
        "scale": 1 + normal(WIDTH, seed=1) / 4,
        "shift": normal(WIDTH, seed=2),
        "wy": normal(WIDTH, 16, seed=3),
        "wz": normal(16, WIDTH, seed=4),
        "b": normal(16, seed=5),
    }
    return graph_of(nodes, {"x": (40, WIDTH)}, {name: (40, 16) for name in outputs}, constants)


def with_large_channels(seed: int) -> Array:
    """Three channels that are large on every sample, as transformers have them."""
    x = normal(40, WIDTH, seed=seed)
    x[:, [3, 17, 20]] *= 12
    return x


def test_the_same_function_in_floats() -> None:
    model, x = two_norms(), with_large_channels(6)
    smooth = smooth_norms(model, [{"x": x}])
    for found, wanted in zip(run(smooth, x=x), run(model, x=x), strict=True):
        np.testing.assert_array_equal(found, wanted)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in smooth.graph.initializer}
    assert "scale" not in weights and "shift" not in weights
    ratio = weights["wy"] / normal(WIDTH, 16, seed=3)
    np.testing.assert_array_equal(ratio, np.exp2(np.rint(np.log2(ratio[:, :1]))).repeat(16, 1))
    assert set(np.argsort(ratio[:, 0])[-3:]) == {3, 17, 20}, "the large channels became smaller, their weights larger"


def test_less_error_in_integers_on_other_inputs() -> None:
    model, x = two_norms(), with_large_channels(7)
    smooth = smooth_norms(model, [{"x": with_large_channels(seed)} for seed in (8, 9)])
    wanted = run(model, x=x)
    errors = [
        [np.linalg.norm(a - b) for a, b in zip(run(quantize_linears(each, ["wy", "wz"]), x=x), wanted, strict=True)]
        for each in (model, smooth)
    ]
    assert all(plain > 1.15 * even for plain, even in zip(*errors, strict=True))  # measured 1.29


def test_a_norm_that_something_else_reads_stays() -> None:
    """So does one that is an output, and one whose weights another layer shares."""
    sample = [{"x": with_large_channels(10)}]
    for model in (
        two_norms(node("Neg", ["n"], ["m"]), outputs=("y", "z")),
        two_norms(node("MatMul", ["x", "wy"], ["u"]), outputs=("y", "z", "u")),
    ):
        smooth = smooth_norms(model, sample)
        assert [each for each in smooth.graph.node] == [each for each in model.graph.node]
    shown = two_norms()
    shown.graph.output.add(name="n").type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    assert smooth_norms(shown, sample) == shown


def test_norms_that_share_a_scale_get_their_own() -> None:
    model = two_norms(
        node("LayerNormalization", ["x", "scale"], ["p"], axis=-1),
        node("MatMul", ["p", "wu"], ["u"]),
        outputs=("y", "u"),
    )
    model.graph.initializer.append(numpy_helper.from_array(normal(WIDTH, 16, seed=11), "wu"))
    x = with_large_channels(12)
    smooth = smooth_norms(model, [{"x": x}])
    scales = [each.input[1] for each in smooth.graph.node if each.op_type == "LayerNormalization"]
    assert len(set(scales)) == 2 and "scale" not in scales
    assert kinds(smooth) == kinds(model)
    for found, wanted in zip(run(smooth, x=x), run(model, x=x), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_channels_without_a_number_or_a_reader() -> None:
    """Their divisor is 1; nothing is divided by zero."""
    model = two_norms()
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor).copy()
        if tensor.name in ("scale", "shift"):
            values[5] = 0
        elif tensor.name != "b":
            values[(8,) if tensor.name == "wy" else (slice(None), 8)] = 0
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    x = with_large_channels(13)
    for found, wanted in zip(run(smooth_norms(model, [{"x": x}]), x=x), run(model, x=x), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_sample_is_needed_and_bytes_are_reproducible() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        smooth_norms(two_norms(), [])
    first, second = (smooth_norms(two_norms(), [{"x": with_large_channels(14)}]) for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)
