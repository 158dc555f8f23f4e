"""Attention written out: the same numbers as the fused operator, where it is taken and where it is left."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("torch")

from integer_graphs import Array, difference, graph_of, kinds, normal, run  # noqa: E402
from onnx import helper  # noqa: E402

from etam_onnx.conversion.ort import written_attention  # noqa: E402
from etam_onnx.conversion.ort.written_attention import write_out_attention  # noqa: E402

QUERIES, KEYS = 50, 70


def attention(heads: int = 1, batch: int = 1, more: tuple[str, ...] = (), count: int = 1) -> onnx.ModelProto:
    """y = attention of q, k, v, all 24 wide, `count` times after each other; `more` are added to the scores."""
    nodes = [
        helper.make_node(
            "MultiHeadAttention",
            ["q" if index == 0 else f"y{index}", "k", "v", *more],
            ["y" if index == count - 1 else f"y{index + 1}"],
            f"attention_{index}",
            domain="com.microsoft",
            num_heads=heads,
            scale=0.3,
        )
        for index in range(count)
    ]
    inputs = {"q": (batch, QUERIES, 24), "k": (batch, KEYS, 24), "v": (batch, KEYS, 24)}
    inputs |= {name: (1, 1, QUERIES, KEYS) for name in more if name}
    return graph_of(nodes, inputs, {"y": (batch, QUERIES, 24)}, {})


def inputs_of(model: onnx.ModelProto) -> dict[str, Array]:
    return {
        value.name: normal(*(size.dim_value for size in value.type.tensor_type.shape.dim), seed=index)
        for index, value in enumerate(model.graph.input)
    }


def wanted(inputs: dict[str, Array], count: int) -> Array:
    """In double precision."""
    q, k, v = (inputs[name][0].astype(np.float64) for name in "qkv")
    for _ in range(count):
        scores = q @ k.T * np.float64(np.float32(0.3))
        weights = np.exp(scores - scores.max(1, keepdims=True))
        q = weights @ v / weights.sum(1, keepdims=True)
    return q[None].astype(np.float32)


@pytest.mark.parametrize(
    ("chunk", "parts"), [(QUERIES * KEYS, 1), (QUERIES * KEYS // 2, 2), (1200, 3), (QUERIES * KEYS // 50, 50)]
)
@pytest.mark.parametrize("count", [1, 2])
def test_written_out_it_gives_the_same(chunk: int, parts: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one piece, in even and in uneven chunks of rows, and several nodes of one graph."""
    monkeypatch.setattr(written_attention, "CHUNK", chunk)
    model = attention(count=count)
    written = write_out_attention(model)
    onnx.checker.check_model(written, full_check=True)
    found = kinds(written)
    assert "MultiHeadAttention" not in found
    assert found["FusedMatMul"] == found["Softmax"] == found["MatMul"] == parts * count
    inputs = inputs_of(model)
    assert difference(run(written, **inputs)[0], wanted(inputs, count)) < 2e-6  # measured 3e-7
    assert write_out_attention(model).SerializeToString() == written.SerializeToString()
    assert kinds(model)["MultiHeadAttention"] == count, "the model itself stays as it is"


@pytest.mark.parametrize(
    ("model", "most"),
    [
        (attention(heads=2), 2**23),
        (attention(batch=2), 2**23),
        (attention(more=("", "", "scores")), 2**23),
        (attention(), QUERIES * KEYS - 1),
    ],
    ids=["several heads", "several batches", "added scores", "too many scores"],
)
def test_what_the_fused_operator_does_better_is_left(
    model: onnx.ModelProto, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(written_attention, "MOST", most)
    assert write_out_attention(model) is model
