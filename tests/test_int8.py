"""Linear layers in 8-bit integers: against the same arithmetic in numpy, and what the pass does to a graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from integer_graphs import Array, Shapes, difference, graph_of, kinds, measured, normal, run  # noqa: E402
from onnx import TensorProto, helper  # noqa: E402

from etam_onnx.conversion.int8 import quantize_linears  # noqa: E402
from etam_onnx.conversion.int8.channels import quantize_channels  # noqa: E402
from etam_onnx.conversion.int8.execution_order import in_execution_order  # noqa: E402
from etam_onnx.conversion.int8.quantization import LONGEST  # noqa: E402

node = helper.make_node


def integers(x: Array, matrix: Array, rows: Array | None = None) -> Array:
    """x @ matrix as the quantized layer defines it, from the definitions and in wide integers; or rows @ matrix, of
    rows with the range of x.
    """
    step, zero = measured(x)
    data = np.clip(np.rint((x if rows is None else rows) / step) + zero, 0, 255).astype(np.int64) - zero
    steps = np.abs(matrix).max(0) / np.float32(127)
    weights = np.rint(matrix.astype(np.float64) / steps).astype(np.int64)
    return ((data @ weights) * (np.float64(step) * steps.astype(np.float64))).astype(np.float32)


def close(found: Array, wanted: Array) -> bool:
    """To the rounding of float32 products and sums; measured 9e-8."""
    return difference(found, wanted) < 7e-7


W, B = normal(24, 16, seed=1), normal(16, seed=2)
IO = ({"x": (5, 24)}, {"y": (5, 16)})
FORMS: dict[str, tuple[Callable[[], onnx.ModelProto], int]] = {
    "MatMul": (lambda: graph_of([node("MatMul", ["x", "w"], ["y"])], *IO, {"w": W}), 0),
    "MatMul, Add": (
        lambda: graph_of(
            [node("MatMul", ["x", "w"], ["p"]), node("Add", ["b", "p"], ["y"])],
            {"x": (2, 5, 24)},
            {"y": (2, 5, 16)},
            {"w": W, "b": B},
        ),
        1,
    ),
    "Gemm": (lambda: graph_of([node("Gemm", ["x", "w", "b"], ["y"])], *IO, {"w": W, "b": B}), 1),
    "Gemm, transposed": (
        lambda: graph_of([node("Gemm", ["x", "w", "b"], ["y"], transB=1)], *IO, {"w": W.T.copy(), "b": B}),
        1,
    ),
    "Gemm, table": (
        lambda: graph_of([node("Gemm", ["x", "w", "b"], ["y"])], *IO, {"w": W, "b": np.tile(B, (5, 1))}),
        1,
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_layer_equals_the_same_integers_in_numpy(form: str) -> None:
    model, bias = FORMS[form][0](), FORMS[form][1]
    quantized = quantize_linears(model, ["w"])
    onnx.checker.check_model(quantized)
    x = normal(*(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim), seed=3)
    assert close(run(quantized, x=x)[0], integers(x, W) + bias * B)
    stored = {tensor.name: tensor.data_type for tensor in quantized.graph.initializer}
    assert "w" not in stored and stored["w_bytes"] == TensorProto.INT8


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_bytes_do_not_saturate(sign: int) -> None:
    """All steps are 1 here, so every number is an integer that float32 holds."""
    x = np.full((4, 192), 255, np.float32)
    w = np.full((192, 32), 127 * sign, np.float32)
    model = graph_of([node("MatMul", ["x", "w"], ["y"])], {"x": x.shape}, {"y": (4, 32)}, {"w": w})
    assert np.array_equal(run(quantize_linears(model, ["w"]), x=x)[0], np.full((4, 32), 255.0 * 127 * 192 * sign))


def test_error_of_a_layer() -> None:
    """Normal numbers, 192 wide: half a percent of the largest output, and not nothing."""
    x, w = normal(64, 192, seed=4), normal(192, 192, seed=5)
    model = graph_of([node("MatMul", ["x", "w"], ["y"])], {"x": x.shape}, {"y": (64, 192)}, {"w": w})
    error = np.abs(run(quantize_linears(model, ["w"]), x=x)[0] - x @ w).max() / np.abs(x @ w).max()
    assert 1e-4 < error < 2e-2  # measured 9e-3


def test_columns_have_their_own_scale() -> None:
    w = np.float32([[1, 1000, 0], [-0.25, 510, 0]])
    values, scale = quantize_channels(w)
    assert values.tolist() == [[127, 127, 0], [-32, 65, 0]]
    np.testing.assert_array_equal(scale, np.float32([1, 1000, 127]) / np.float32(127))


def shared(extra: Sequence[onnx.NodeProto] = (), outputs: Sequence[str] = ("q", "k", "v")) -> onnx.ModelProto:
    nodes = [node("Neg", ["x"], ["n"]), *(node("MatMul", ["n", f"w{name}"], [name]) for name in "qkv"), *extra]
    weights = {f"w{name}": normal(24, 16, seed=index) for index, name in enumerate("qkv")}
    return graph_of(nodes, {"x": (5, 24)}, {name: (5, 16) for name in outputs}, weights)


def test_an_activation_is_quantized_once() -> None:
    quantized = quantize_linears(shared(), lambda name, matrix: True)
    assert kinds(quantized) == {"Neg": 1, "DynamicQuantizeLinear": 1, "MatMulIntegerToFloat": 3}
    x = normal(5, 24, seed=6)
    for index, found in enumerate(run(quantized, x=x)):
        assert close(found, integers(-x, normal(24, 16, seed=index)))


def test_pixels_are_bytes_already() -> None:
    """Whole numbers up to 254 would be rounded to 255 steps of 254 / 255; as they are, only the weights are rounded."""
    model = graph_of([node("MatMul", ["image", "w"], ["y"])], {"image": (5, 24)}, IO[1], {"w": W})
    image = np.random.default_rng(14).integers(0, 255, (5, 24)).astype(np.float32)
    values, scale = quantize_channels(W)
    quantized = quantize_linears(model, ["w"])
    assert kinds(quantized) == {"QuantizeLinear": 1, "MatMulIntegerToFloat": 1}
    assert close(run(quantized, image=image)[0], image @ (values * scale))
    assert kinds(quantize_linears(model, ["w"], known={}))["DynamicQuantizeLinear"] == 1


def test_only_what_is_chosen() -> None:
    asked: list[tuple[str, tuple[int, ...]]] = []

    def choose(name: str, matrix: Array) -> bool:
        asked.append((name, matrix.shape))
        return name == "wk"

    quantized = quantize_linears(shared(), choose)
    assert asked == [("wq", (24, 16)), ("wk", (24, 16)), ("wv", (24, 16))]
    assert kinds(quantized)["MatMul"] == 2 and kinds(quantized)["MatMulIntegerToFloat"] == 1
    assert quantize_linears(shared(), ()) == shared()


def test_in_two_steps() -> None:
    model, x = shared(), normal(5, 24, seed=7)
    once = run(quantize_linears(model, ["wq", "wk", "wv"]), x=x)
    twice = run(quantize_linears(quantize_linears(model, ["wk"]), ["wq", "wv"]), x=x)
    for first, second in zip(once, twice, strict=True):
        np.testing.assert_array_equal(first, second)


def test_bytes_are_moved_instead_of_floats() -> None:
    """Reshape, Transpose and Gather come behind the quantization, unless something else reads what they give."""
    index = np.array([3, 0, 1, 2, 2, 3])

    def moved(*more: onnx.NodeProto, outputs: Shapes) -> onnx.ModelProto:
        nodes = [
            node("Reshape", ["x", "shape"], ["r"]),
            node("Transpose", ["r"], ["t"], perm=[1, 0]),
            node("Gather", ["t", "index"], ["g"], axis=0),
            node("MatMul", ["g", "w"], ["y"]),
            *more,
        ]
        constants = {"shape": np.array([24, 4]), "index": index, "w": W}
        return graph_of(nodes, {"x": (8, 12)}, outputs, constants)

    x = normal(8, 12, seed=8)
    wanted = integers(x.reshape(24, 4).T[index], W)
    model = moved(outputs={"y": (6, 16)})
    quantized = quantize_linears(model, ["w"])
    assert next(each.op_type for each in quantized.graph.node) == "DynamicQuantizeLinear"
    assert close(run(quantized, x=x)[0], wanted)

    read_twice = moved(node("Neg", ["t"], ["z"]), outputs={"y": (6, 16), "z": (4, 24)})
    quantized = quantize_linears(read_twice, ["w"])
    order = [each.op_type for each in quantized.graph.node]
    assert order == ["Reshape", "Transpose", "DynamicQuantizeLinear", "Gather", "MatMulIntegerToFloat", "Neg"]
    found, negative = run(quantized, x=x)
    assert close(found, wanted)
    np.testing.assert_array_equal(negative, -x.reshape(24, 4).T)


def test_a_gather_by_an_index_that_is_computed() -> None:
    """The index is there only after the place to which the gather is moved."""
    nodes = [
        node("Reshape", ["x", "shape"], ["r"]),
        node("Add", ["first", "step"], ["index"]),
        node("Gather", ["r", "index"], ["g"], axis=0),
        node("MatMul", ["g", "w"], ["y"]),
    ]
    constants = {"shape": np.array([4, 24]), "first": np.array([0, 1, 2]), "step": np.array([1]), "w": W}
    x = normal(8, 12, seed=13)
    quantized = quantize_linears(graph_of(nodes, {"x": (8, 12)}, {"y": (3, 16)}, constants), ["w"])
    onnx.checker.check_model(quantized, full_check=True)
    assert close(run(quantized, x=x)[0], integers(x, W, rows=x.reshape(4, 24)[[1, 2, 3]]))


def test_nodes_that_wait_for_each_other() -> None:
    first, second = node("Neg", ["b"], ["a"], "first"), node("Neg", ["a"], ["b"], "second")
    with pytest.raises(ValueError, match="the inputs of first can never be computed"):
        in_execution_order([first, second])


def test_a_product_that_is_read_before_its_bias() -> None:
    """The Add stays an Add, since the product is needed as well."""
    nodes = [node("MatMul", ["x", "w"], ["p"]), node("Add", ["p", "b"], ["y"]), node("Neg", ["p"], ["z"])]
    model = graph_of(nodes, IO[0], {"y": (5, 16), "z": (5, 16)}, {"w": W, "b": B})
    x = normal(5, 24, seed=9)
    y, z = run(quantize_linears(model, ["w"]), x=x)
    assert close(z, -integers(x, W)) and close(y, integers(x, W) + B)


def test_one_weight_both_ways_round() -> None:
    w = normal(16, 16, seed=10)
    nodes = [node("Gemm", ["x", "w"], ["y"]), node("Gemm", ["x", "w"], ["z"], transB=1)]
    model = graph_of(nodes, {"x": (5, 16)}, {"y": (5, 16), "z": (5, 16)}, {"w": w})
    x = normal(5, 16, seed=11)
    y, z = run(quantize_linears(model, ["w"]), x=x)
    assert close(y, integers(x, w)) and close(z, integers(x, w.T))


def test_same_model_same_bytes_and_a_third_of_the_size() -> None:
    w = normal(256, 256, seed=12)
    model = graph_of([node("MatMul", ["x", "w"], ["y"])], {"x": (2, 256)}, {"y": (2, 256)}, {"w": w})
    before = model.SerializeToString(deterministic=True)
    first, second = (quantize_linears(model, ["w"]).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second
    assert model.SerializeToString(deterministic=True) == before, "the model itself is left as it was"
    assert len(first) < 0.27 * len(before)


def test_what_cannot_be_quantized_is_refused() -> None:
    long = np.ones((LONGEST + 1, 1), np.float32)
    cases: dict[str, tuple[list[onnx.NodeProto], Shapes, Mapping[str, NDArray]]] = {
        "scaled": ([node("Gemm", ["x", "w"], ["y"], alpha=0.5)], {"x": (5, 24)}, {"w": W}),
        "transposed": ([node("Gemm", ["x", "w"], ["y"], transA=1)], {"x": (24, 5)}, {"w": W}),
        "rank 3": ([node("MatMul", ["x", "w"], ["y"])], {"x": (2, 5, 24)}, {"w": np.stack((W, W))}),
        "computed": ([node("MatMul", ["x", "w"], ["y"])], {"x": (5, 24), "w": (24, 16)}, {}),
        "too long": ([node("MatMul", ["x", "w"], ["y"])], {"x": (5, LONGEST + 1)}, {"w": long}),
    }
    for nodes, inputs, constants in cases.values():
        model = graph_of(nodes, inputs, {"y": ()}, constants)
        with pytest.raises(ValueError, match=r"^w cannot be quantized: it is not the constant float32 \(K, N\) matrix"):
            quantize_linears(model, ["w"])
        assert quantize_linears(model, lambda name, matrix: True) == model
    with pytest.raises(ValueError, match="nothing cannot be quantized"):
        quantize_linears(shared(), ["nothing"])


def test_weights_have_to_be_finite_and_inside() -> None:
    w = W.copy()
    w[3, 4] = np.inf
    model = graph_of([node("MatMul", ["x", "w"], ["y"])], *IO, {"w": w})
    with pytest.raises(ValueError, match="infinite or not a number"):
        quantize_linears(model, ["w"])
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    with pytest.raises(ValueError, match="should be loaded before"):
        quantize_linears(model, ["w"])


def test_the_encoder_of_a_model(small_bundle: Path) -> None:
    """All linear layers of the small model, and only those of its blocks."""
    import torch
    from small_model import small_model, varied

    model = varied(small_model())
    exported = onnx.load(small_bundle / "ort/image_encoder.onnx")
    image = np.random.default_rng(13).integers(0, 256, (1, 3, 96, 96)).astype(np.float32)
    with torch.inference_mode():
        wanted = model.encode_image(torch.from_numpy(image)).flatten(2).transpose(1, 2).numpy()

    def error(chosen: Callable[[str, Array], bool]) -> tuple[float, Counter[str]]:
        quantized = quantize_linears(exported, chosen)
        (found,) = run(quantized, image=image)
        return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted)), kinds(quantized)

    everything, counts = error(lambda name, matrix: True)
    assert counts["MatMulIntegerToFloat"] == 2 * 6 + 3 and counts["MatMul"] == counts["Gemm"] == 0
    assert counts["DynamicQuantizeLinear"] == 2 * 4 + 2 and counts["QuantizeLinear"] == 1
    blocks, counts = error(lambda name, matrix: name.startswith("blocks."))
    assert counts["MatMulIntegerToFloat"] == 12
    assert 1e-3 < blocks < everything < 5e-2
