"""Counting multiply-adds: graphs whose count follows from their shapes, the shipped bundle, what cannot be counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

import onnx
from onnx import TensorProto, helper, numpy_helper

from etam_onnx import Bundle
from etam_onnx.conversion.arithmetic import Arithmetic, arithmetic_of, arithmetic_of_file
from etam_onnx.conversion.int8 import quantize_linears, quantize_scores
from etam_onnx.conversion.matrix_products import CHAINS, INPUT, Chain

Shapes = dict[str, tuple[int, ...]]
MICROSOFT = "com.microsoft"


def model_of(
    nodes: Sequence[onnx.NodeProto], inputs: Shapes, constants: dict[str, np.ndarray], output: str = "out"
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "by_hand",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [onnx.ValueInfoProto(name=output)],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    sets = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(graph, ir_version=8, opset_imports=sets)


def floats(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def single(kind: str, inputs: Shapes, constants: dict[str, np.ndarray], domain: str = "", **options: object) -> int:
    """Multiply-adds of one node that reads the inputs, then the constants."""
    node = helper.make_node(kind, [*inputs, *constants], ["out"], "node", domain=domain, **options)
    arithmetic = arithmetic_of(model_of([node], inputs, constants))
    assert list(arithmetic.multiply_adds) == [kind]
    return arithmetic.total


def test_matrix_products() -> None:
    assert single("MatMul", {"x": (2, 5, 3)}, {"w": floats(3, 7)}) == 2 * 5 * 3 * 7
    assert single("MatMul", {"x": (2, 1, 5, 3), "y": (4, 3, 7)}, {}) == 2 * 4 * 5 * 3 * 7
    assert single("Gemm", {"x": (5, 3)}, {"w": floats(7, 3), "b": floats(7)}, transB=1) == 5 * 3 * 7
    assert single("Gemm", {"x": (3, 5)}, {"w": floats(3, 7)}, transA=1) == 5 * 3 * 7
    inputs = {"q": (2, 5, 3), "k": (2, 7, 3)}
    assert single("FusedMatMul", inputs, {}, MICROSOFT, transB=1, alpha=0.5) == 2 * 5 * 3 * 7


def test_convolutions() -> None:
    # 8x8 with a margin of 1 and steps of 2 gives 4x4; each of 6 channels reads 3x3 of all 4 channels, or of 2.
    options = {"pads": [1, 1, 1, 1], "strides": [2, 2]}
    assert single("Conv", {"x": (1, 4, 8, 8)}, {"w": floats(6, 4, 3, 3), "b": floats(6)}, **options) == 16 * 6 * 4 * 9
    assert single("Conv", {"x": (1, 4, 8, 8)}, {"w": floats(6, 2, 3, 3)}, group=2, **options) == 16 * 6 * 2 * 9
    # Each of 25 places and 4 channels writes 2x2 places of 6 channels.
    assert single("ConvTranspose", {"x": (1, 4, 5, 5)}, {"w": floats(4, 6, 2, 2)}, strides=[2, 2]) == 25 * 4 * 6 * 4


def test_fused_attention_is_scores_and_weighted_values() -> None:
    inputs = {"q": (2, 5, 12), "k": (2, 7, 12), "v": (2, 7, 6)}
    found = single("MultiHeadAttention", inputs, {}, MICROSOFT, num_heads=3)
    assert found == 2 * 5 * 7 * 12 + 2 * 5 * 7 * 6


def test_integers_are_told_apart() -> None:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["bytes", "step", "zero"]),
        helper.make_node(
            "MatMulIntegerToFloat", ["bytes", "w", "step", "steps", "zero", "zeros"], ["y"], domain=MICROSOFT
        ),
        helper.make_node("MatMulInteger", ["bytes", "w", "zero"], ["whole"]),
        helper.make_node("Cast", ["whole"], ["z"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["y", "z"], ["sum"]),
        helper.make_node("MatMul", ["sum", "v"], ["out"]),
    ]
    constants = {
        "w": np.ones((3, 7), np.int8),
        "steps": floats(7),
        "zeros": np.zeros(7, np.int8),
        "v": floats(7, 2),
    }
    found = arithmetic_of(model_of(nodes, {"x": (5, 3)}, constants))
    assert found == Arithmetic({"MatMulIntegerToFloat": 105, "MatMulInteger": 105, "MatMul": 70})
    assert (found.total, found.integer) == (280, 210)
    assert found.as_json() == {
        "multiply_adds": 280,
        "in_integers": 210,
        "by_operator": {"MatMul": 70, "MatMulInteger": 105, "MatMulIntegerToFloat": 105},
    }


def test_quantizing_moves_the_same_number_to_integers() -> None:
    """Two layers, and attention over their outputs, of which the layers and the scores are quantized."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["q"], "first"),
        helper.make_node("Gemm", ["flat", "v", "b"], ["y"], "second"),
        helper.make_node("Reshape", ["y", "shape"], ["k"]),
        helper.make_node("MultiHeadAttention", ["q", "k", "k"], ["out"], "attend", domain=MICROSOFT, num_heads=1),
    ]
    random = np.random.default_rng(0)
    constants = {
        "w": random.standard_normal((8, 16), np.float32),
        "v": random.standard_normal((8, 16), np.float32),
        "b": floats(16),
        "shape": np.array([1, 5, 16]),
    }
    model = model_of(nodes, {"x": (1, 6, 8), "flat": (5, 8)}, constants)
    layers, half_of_attention = (6 + 5) * 8 * 16, 6 * 5 * 16
    plain = arithmetic_of(model)
    assert (plain.total, plain.integer) == (layers + 2 * half_of_attention, 0)
    quantized = arithmetic_of(quantize_scores(quantize_linears(model, ["w", "v"]), ["attend"]))
    assert (quantized.total, quantized.integer) == (plain.total, layers + half_of_attention)


def test_what_is_computed_at_load_is_not_counted() -> None:
    nodes = [
        helper.make_node("Cast", ["half"], ["whole"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["whole", "w"], ["fused"]),
        helper.make_node("MatMul", ["x", "fused"], ["out"]),
    ]
    model = model_of(nodes, {"x": (5, 4)}, {"half": np.ones((4, 3), np.float16), "w": floats(3, 7)})
    assert arithmetic_of(model).total == 5 * 4 * 7


def test_products_that_cannot_be_counted_are_refused(tmp_path: Path) -> None:
    einsum = helper.make_node("Einsum", ["x", "y"], ["out"], equation="ij,jk->ik")
    with pytest.raises(ValueError, match="by_hand: Einsum is not among the operators that can be counted"):
        arithmetic_of(model_of([einsum], {"x": (5, 3), "y": (3, 7)}, {}))
    turned = helper.make_node("FusedMatMul", ["x", "y"], ["out"], "turned", domain=MICROSOFT, transBatchA=1)
    with pytest.raises(ValueError, match="turned: FusedMatMul is not counted with its first axes transposed"):
        arithmetic_of(model_of([turned], {"x": (5, 2, 3), "y": (2, 3, 7)}, {}))
    packed = helper.make_node("MultiHeadAttention", ["x"], ["out"], "packed", domain=MICROSOFT, num_heads=2)
    with pytest.raises(ValueError, match="packed: MultiHeadAttention is only counted of queries, keys and values"):
        arithmetic_of(model_of([packed], {"x": (1, 5, 2, 3, 4)}, {}))
    (tmp_path / "torn.onnx").write_bytes(b"no graph at all")
    with pytest.raises(ValueError, match=r"the multiply-adds of .*torn\.onnx cannot be counted: "):
        arithmetic_of_file(tmp_path / "torn.onnx")


def test_the_shipped_bundle_has_fewer_where_it_is_written_for_onnx_runtime() -> None:
    bundle = Bundle.open()
    found = {
        variant: {name: arithmetic_of_file(path).total for name, path in bundle.graph_paths(variant).items()}
        for variant in ("portable", "ort")
    }
    # Widths 192 and 768, 24x24 tokens: patches of 16x16 from 3 channels are in both variants.
    assert found["portable"]["image_encoder"] > 576 * 3 * 256 * 192
    assert found["ort"]["memory_attention_7"] < found["portable"]["memory_attention_7"]
    assert found["ort"]["tracked_decoder"] < found["portable"]["mask_decoder"] / 2
    assert found["ort"]["image_encoder"] == pytest.approx(found["portable"]["image_encoder"], rel=0.02)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_chain_multiplies_by_its_matrices_in_turn(count: int) -> None:
    import onnxruntime

    chain = Chain(rows=5, narrow=3, wide=8, count=count)
    model = chain.model()
    assert arithmetic_of(model).total == chain.multiply_adds == 5 * 3 * 8 * count
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    x = np.random.default_rng(1).standard_normal((5, 3), np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = x.astype(np.float64)
    for index in range(count):
        wanted = wanted @ weights[f"weight_{index % 2}"]
    np.testing.assert_allclose(session.run(None, {INPUT: x})[0], wanted[:1], rtol=1e-5, atol=1e-6)


def test_chains_keep_their_size() -> None:
    """Numbers that fade are slow to multiply on some processors."""
    for chain in CHAINS:
        model = chain.model()
        weights = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer[:2]]
        row = np.random.default_rng(1).standard_normal((1, chain.narrow), np.float32)
        for index in range(chain.count):
            row = row @ weights[index % 2]
        assert 0.5 < row.std() < 2
        assert chain.multiply_adds > 1.8e9
