"""Scores of attention in 8-bit integers: against the same arithmetic in numpy, and what the pass does to a graph."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from integer_graphs import Array, difference, graph_of, kinds, measured, normal, run  # noqa: E402
from onnx import TensorProto, helper  # noqa: E402

from etam_onnx.conversion.int8 import quantize_linears, quantize_scores, scores  # noqa: E402


def attention(
    queries: int,
    keys: int,
    heads: int = 1,
    width: int = 16,
    batch: int = 1,
    more: tuple[str, ...] = (),
    **options: float,
) -> onnx.ModelProto:
    """y = attention of q, k, v; values are 8 wide per head."""
    node = helper.make_node(
        "MultiHeadAttention",
        ["q", "k", "v", *more],
        ["y"],
        "attention",
        domain="com.microsoft",
        num_heads=heads,
        **options,
    )
    inputs = {
        "q": (batch, queries, heads * width),
        "k": (batch, keys, heads * width),
        "v": (batch, keys, heads * 8),
        **{name: (1, 1, queries, keys) for name in more if name},
    }
    return graph_of([node], inputs, {"y": (batch, queries, heads * 8)}, {})


def arrays(model: onnx.ModelProto, seed: int = 0) -> dict[str, Array]:
    shapes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in model.graph.input}
    return {name: normal(*shape, seed=seed + index) for index, (name, shape) in enumerate(shapes.items())}


def whole_numbers(x: Array, shift: int) -> tuple[Array, np.float32]:
    """x in steps, and the step, from the definition in 178 levels."""
    step, zero = measured(x)
    wider = np.float32(step * np.float32(255 / 178))
    place = int(np.rint(np.float32(zero) * np.float32(178 / 255) - np.float32(shift)))
    least, most = (0, 255) if shift == 0 else (-128, 127)
    return np.clip(np.rint(x / wider) + place, least, most).astype(np.int64) - place, wider


def expected(q: Array, k: Array, v: Array, heads: int, scale: float, bias: Array | float = 0) -> Array:
    """Attention with scores in integers and everything else in double precision."""
    (q_whole, q_step), (k_whole, k_step) = whole_numbers(q, 0), whole_numbers(k, 89)

    def split(x: Array) -> Array:
        return x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)

    found = split(q_whole) @ split(k_whole).swapaxes(2, 3) * (float(q_step) * float(k_step) * scale) + bias
    weights = np.exp(found - found.max(-1, keepdims=True))
    out = weights / weights.sum(-1, keepdims=True) @ split(v).astype(np.float64)
    return out.transpose(0, 2, 1, 3).reshape(*q.shape[:2], -1).astype(np.float32)


def close(found: Array, wanted: Array) -> bool:
    """To the rounding of float32; measured 2e-7."""
    return difference(found, wanted) < 1.5e-6


@pytest.mark.parametrize(("heads", "batch"), [(1, 1), (3, 1), (2, 4)])
@pytest.mark.parametrize("chunk", [scores.CHUNK, 90])
def test_attention_equals_the_same_integers_in_numpy(
    heads: int, batch: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one piece, and in chunks of few rows of which the last is smaller."""
    monkeypatch.setattr(scores, "CHUNK", chunk)
    model = attention(11, 9, heads, batch=batch)
    quantized = quantize_scores(model, ["attention"])
    onnx.checker.check_model(quantized)
    given = arrays(model)
    (found,) = run(quantized, **given)
    assert close(found, expected(given["q"], given["k"], given["v"], heads, 16**-0.5))
    rows = max(1, chunk // (9 * heads * batch))
    assert kinds(quantized)["Softmax"] == -(-11 // rows)


def test_a_scale_of_its_own() -> None:
    model = attention(7, 5, scale=1.5)
    given = arrays(model)
    (found,) = run(quantize_scores(model, ["attention"]), **given)
    assert close(found, expected(given["q"], given["k"], given["v"], 1, 1.5))


def test_error_against_float() -> None:
    """Two hundred normal keys: a percent of the largest output."""
    model = attention(64, 200, 2, width=32)
    given = arrays(model)
    error = difference(run(quantize_scores(model, ["attention"]), **given)[0], run(model, **given)[0])
    assert 1e-4 < error < 5e-2  # measured 1.6e-2


def test_a_bias_behind_the_compared_columns_stays_as_it_is() -> None:
    """A column of -1e4 among the keys would otherwise leave no steps for the keys themselves."""
    model = attention(7, 6, width=18, scale=0.5)
    given = arrays(model)
    bias = np.float32([0, 1.5, -1e4, 0.25, -1e4, -2])
    given["q"][:, :, 16:] = [1, 0]
    given["k"][:, :, 16], given["k"][:, :, 17] = bias, 0
    wanted = expected(given["q"][..., :16], given["k"][..., :16], given["v"], 1, 0.5, 0.5 * bias)
    (found,) = run(quantize_scores(model, ["attention"], width=16), **given)
    assert close(found, wanted)
    assert difference(found, run(model, **given)[0]) < 5e-2  # measured 6e-3
    (same,) = run(quantize_scores(model, ["attention"], width=18), **given)
    assert difference(same, run(model, **given)[0]) > 0.1, "without the width the keys are lost"


@pytest.mark.parametrize("seed", range(4))
def test_two_products_of_bytes_fit_in_16_bits(seed: int) -> None:
    """Whatever the range of either side: symmetric, one-sided, with a few numbers next to zero."""
    rng = np.random.default_rng(seed)
    model = quantize_scores(attention(32, 32), ["attention"])
    for name, kind in (("q_scored", TensorProto.UINT8), ("k_scored", TensorProto.INT8)):
        model.graph.output.add(name=name).type.tensor_type.elem_type = kind
    largest = [0, 0]
    for _ in range(20):
        low, high = sorted(rng.normal(0, 1, 2) * rng.choice([0.01, 1, 100], 2))
        given = {name: rng.uniform(low, high, (1, 32, 16)).astype(np.float32) for name in "qk"}
        _, q, k = run(model, **given, v=normal(1, 32, 8))
        largest = [max(largest[0], int(q.max())), max(largest[1], int(np.abs(k.astype(int)).max()))]
    assert 2 * largest[0] * largest[1] < 2**15
    assert largest[0] >= 178 and largest[1] >= 89, "the range is used"


def test_only_what_is_chosen_and_can_be() -> None:
    """A bias as an input of its own is something else."""
    asked: list[tuple[str, int, int]] = []
    plain, biased = attention(4, 6), attention(4, 6, more=("", "", "b"))
    assert quantize_scores(plain, lambda *of: asked.append(of) or False) == plain
    assert asked == [("attention", 4, 6)]
    assert quantize_scores(biased, lambda *of: True) == biased
    for model, name in ((biased, "attention"), (plain, "another")):
        with pytest.raises(ValueError, match=f"^{name} is not the name of a MultiHeadAttention of queries"):
            quantize_scores(model, [name])
    with pytest.raises(ValueError, match="has a bias on its scores and 2 heads"):
        quantize_scores(attention(4, 6, heads=2), ["attention"], width=24)


def test_behind_quantized_linear_layers() -> None:
    """Both passes on one graph, names apart, bytes reproducible."""
    weights = {f"w{name}": normal(12, 16, seed=index) / 4 for index, name in enumerate("qkv")}
    nodes = [helper.make_node("MatMul", ["x", f"w{name}"], [name]) for name in "qkv"]
    nodes.append(helper.make_node("MultiHeadAttention", list("qkv"), ["y"], "a", domain="com.microsoft", num_heads=2))
    model = graph_of(nodes, {"x": (1, 20, 12)}, {"y": (1, 20, 16)}, weights)

    def both() -> onnx.ModelProto:
        return quantize_scores(quantize_linears(model, weights), ["a"])

    quantized = both()
    assert quantized.SerializeToString(deterministic=True) == both().SerializeToString(deterministic=True)
    x = normal(1, 20, 12, seed=5)
    error = difference(run(quantized, x=x)[0], run(model, x=x)[0])
    assert 1e-4 < error < 5e-2  # measured 1.4e-2
