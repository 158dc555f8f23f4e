"""Memory attention of the `ort` variant: each rewriting in double precision, then the graphs in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import torch.nn.functional as F  # noqa: E402
from ort_attention import (  # noqa: E402
    COUNTS,
    Exported,
    arguments,
    chained,
    double_model,
    edges,
    exact_tables,
    fused,
    layout,
    ports_of,
    random,
    relative,
)
from torch import nn  # noqa: E402

from etam_onnx.config import CrossAttention  # noqa: E402
from etam_onnx.conversion.ort import frame_attention, memory_attention, memory_keys  # noqa: E402
from etam_onnx.conversion.ort.cached_keys import CachedKeys  # noqa: E402
from etam_onnx.conversion.ort.direct_keys import DirectKeys  # noqa: E402
from etam_onnx.conversion.ort.frame_attention import OrtFrameAttention, SelfAttention  # noqa: E402
from etam_onnx.conversion.ort.memory_attention import OrtMemoryAttention  # noqa: E402
from etam_onnx.conversion.ort.memory_keys import OrtMemoryKeys  # noqa: E402
from etam_onnx.conversion.ort.operators import attend  # noqa: E402
from etam_onnx.conversion.ort.pooled_rotation import window_sums, window_weight  # noqa: E402
from etam_onnx.conversion.ort.projection import LinearMap, Projection  # noqa: E402
from etam_onnx.conversion.ort.rotation import Rotation, rotary_table  # noqa: E402
from etam_onnx.conversion.ort.score_column import MASKED, column_of, with_ones  # noqa: E402
from etam_onnx.graphs.contract import Geometry, Graph  # noqa: E402
from etam_onnx.graphs.ort_contract import Deployment, keys_port, ort_contract  # noqa: E402
from etam_onnx.model import position as model_position  # noqa: E402
from etam_onnx.model.cross_attention import pool_tokens  # noqa: E402
from etam_onnx.model.position import rotate_pairs, sine_tokens  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")
KINDS: tuple[CrossAttention, ...] = ("full", "pooled_score_bias", "pooled_key_constant")
EXACT = 5e-15
"""Relative difference allowed between two forms of the same function in double precision; measured up to 1e-15,
a few roundings."""


@pytest.fixture
def unrounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rotary tables in double precision: rounded, their cells are not exactly one step apart (1e-8)."""
    monkeypatch.setattr(model_position, "rotary_tables", exact_tables)


# Each rewriting by itself


def test_norms_and_projections_join() -> None:
    torch.manual_seed(1)
    norm, first, second = nn.LayerNorm(24).double(), nn.Linear(24, 20).double(), nn.Linear(20, 8).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = random(50, 24)
    joined = LinearMap.of(second).after(LinearMap.of(first)).after_norm(norm).scaled(0.25)
    found = Projection(joined, torch.float64)(F.layer_norm(x, (24,), eps=norm.eps))
    assert relative(found, 0.25 * second(first(norm(x)))) < EXACT


def test_rotation_is_the_models_and_leaves_further_columns() -> None:
    grid, width = 6, 16
    x = random(3, grid * grid, width + 5)
    cos, sin = rotary_table(grid, width)
    turned = Rotation(cos, sin)(x)
    assert torch.equal(turned[..., :width], rotate_pairs(x[..., :width], grid))
    assert torch.equal(turned[..., width:], x[..., width:])


@pytest.mark.usefixtures("unrounded")
def test_windows_are_pooled_before_they_are_projected_and_turned() -> None:
    grid, width, depth = 8, 24, 10
    memory, weight = random(1, grid * grid, depth), random(width, depth, seed=1)
    plain = pool_tokens(rotate_pairs(memory @ weight.T, grid)[:, None])[:, 0]
    sums = torch.cat(window_sums(memory, grid), -1)
    assert relative(Rotation(*rotary_table(grid, width, 2))(sums @ window_weight(weight).T), plain) < EXACT


@pytest.mark.parametrize("columns", [1, 8])
def test_a_column_of_keys_is_a_bias_on_scores(columns: int) -> None:
    """Also where scores are far apart, and where masked keys would have had the highest scores by far."""
    linear = LinearMap(random(16, 12), random(16, seed=1))
    x, k, v = random(40, 12, seed=2), random(1, 90, 16, seed=3), random(1, 90, 5, seed=4)
    bias = torch.zeros(1, 90, 1, dtype=torch.float64)
    bias[:, :40] = np.log(4)
    bias[:, 70:] = MASKED
    k[:, 70:] *= 50
    q = Projection(with_ones(linear, columns), torch.float64)(x)[None]
    assert q.shape[-1] == 16 + columns
    found = attend(q, torch.cat((k, column_of(bias, columns)), -1), v, scale=1.0)
    weight = torch.tensor([4.0] * 40 + [1.0] * 30, dtype=torch.float64)
    scores = q[0, :, :16] @ k[0, :70].T
    shares = weight * torch.exp(scores - scores.amax(1, keepdim=True))
    assert relative(found[0], shares @ v[0, :70] / shares.sum(1, keepdim=True)) < EXACT


def test_self_attention_with_values_and_output_joined() -> None:
    model = double_model("full")
    layer, grid = model.memory_attention.layers[1], model.config.grid
    x = random(grid * grid, model.config.width)
    rotate = Rotation(*rotary_table(grid, model.config.width))
    assert relative(SelfAttention(layer, rotate)(x), x + layer.attend_self(layer.norm1(x)[None], grid)[0]) < EXACT


@pytest.mark.usefixtures("unrounded")
@pytest.mark.parametrize(("kind", "direct"), [*((kind, False) for kind in KINDS), ("full", True)])
def test_keys_are_those_of_the_plain_model(kind: CrossAttention, direct: bool) -> None:
    """Computed when a memory is written or where it is read: with its temporal row, for every layer."""
    model, slots = double_model(kind), 3
    config, (geometry, deployment) = model.config, layout(model)
    memories = [random(1, geometry.tokens, geometry.memory_width, seed=s) for s in range(slots)]
    pointers, pointer_bias = random(4, geometry.memory_width, seed=9), random(4, 1, seed=10)
    row = torch.eye(geometry.temporal_rows, dtype=torch.float64)[[6, 0, 3]]
    if direct:
        found = DirectKeys(model, slots, 4, 1)(tuple(memories), row, pointers, pointer_bias)
    else:
        written = [OrtMemoryKeys(model, geometry, deployment).double()(memory) for memory in memories]
        keys = tuple(w[1] if isinstance(w, tuple) else w for w in written)
        edge = keys[0].shape[-1] - config.width
        found = CachedKeys(model, slots, deployment.pool, edge, edge or 1)(keys, row, pointers, pointer_bias)
    temporal = (row @ model.maskmem_tpos_enc.reshape(-1, geometry.memory_width))[None, :, None]
    placed = torch.stack(memories, 1) + sine_tokens(config.grid, geometry.memory_width, row) + temporal
    for layer, key in zip(model.memory_attention.layers, found, strict=True):
        wanted = rotate_pairs(layer.cross_attn_image.k_proj(placed), config.grid)
        if kind != "full":
            wanted = pool_tokens(wanted)
        if kind == "pooled_key_constant":
            wanted = wanted + np.log(4)
        wanted = torch.cat((wanted.flatten(1, 2), layer.cross_attn_image.k_proj(pointers)[None]), 1)
        assert relative(key[..., : config.width], wanted) < EXACT
        weight = np.log(4) if kind == "pooled_score_bias" else 0.0
        assert torch.equal(key[0, -4:, config.width :], pointer_bias)
        assert (key[0, :-4, config.width] == weight).all()


# The graphs


@pytest.mark.usefixtures("unrounded")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("slots", COUNTS)
def test_the_graphs_are_the_plain_model_in_double_precision(kind: CrossAttention, slots: int) -> None:
    """Any number of used slots and pointers, whatever the unused ones hold; even and very uneven scores."""
    for sharpness in (1.0, 40.0):
        model = double_model(kind, sharpness=sharpness)
        geometry, deployment = layout(model)
        module = OrtMemoryAttention(model, geometry, deployment, slots).double()
        for used, pointers, garbage in (
            (slots, geometry.pointer_slots, 0.0),
            (max(2, slots - 2), 3, 50.0),
            (2, 0, 0.0),
        ):
            inputs = ports_of(geometry, slots, min(used, slots), pointers, seed=used)
            with torch.inference_mode():
                values = edges(model, geometry, deployment, inputs, garbage)
                found = module(*arguments(geometry, deployment, slots, values))
            assert relative(found, fused(model, inputs)) < 5e-14, (sharpness, used)  # measured 8e-15


@pytest.mark.usefixtures("unrounded")
@pytest.mark.parametrize("layers", [1, 4])
def test_any_number_of_layers(layers: int) -> None:
    model = double_model("pooled_score_bias", layers)
    geometry, deployment = layout(model)
    inputs = ports_of(geometry, 3, 3, 5, seed=0)
    with torch.inference_mode():
        values = edges(model, geometry, deployment, inputs, 0)
        module = OrtMemoryAttention(model, geometry, deployment, 3).double()
        found = module(*arguments(geometry, deployment, 3, values))
    assert values[keys_port(0)].shape[0] == layers
    assert relative(found, fused(model, inputs)) < EXACT


@pytest.mark.usefixtures("unrounded")
@pytest.mark.parametrize("columns", [0, 1, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_room_for_the_bias_may_be_part_of_the_edges(
    kind: CrossAttention, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in (frame_attention, memory_attention, memory_keys):
        monkeypatch.setattr(part, "edge_columns", lambda *_: columns)
    model = double_model(kind)
    geometry, deployment = layout(model)
    inputs = ports_of(geometry, 7, 4, 5, seed=0)
    with torch.inference_mode():
        values = edges(model, geometry, deployment, inputs, 0)
        found = OrtMemoryAttention(model, geometry, deployment, 7).double()(*arguments(geometry, deployment, 7, values))
    assert values["query"].shape[-1] == values[keys_port(0)].shape[-1] == geometry.width + columns
    assert relative(found, fused(model, inputs)) < EXACT


# In ONNX Runtime


@pytest.fixture(scope="module")
def exported() -> Iterator[dict[CrossAttention, Exported]]:
    yield {kind: Exported(kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_graphs_that_memory_does_not_enter_agree_in_onnx_runtime(
    kind: CrossAttention, exported: dict[CrossAttention, Exported]
) -> None:
    graphs = exported[kind]
    parts = (graphs.model, graphs.geometry, graphs.deployment)
    features = random(1, graphs.geometry.tokens, graphs.geometry.width)
    memory = random(1, graphs.geometry.tokens, graphs.geometry.memory_width)
    with torch.inference_mode():
        for found, wanted in zip(graphs("frame_attention", features), OrtFrameAttention(*parts)(features), strict=True):
            assert relative(found, wanted) < 2e-6  # measured 3e-7, as below
        wanted = OrtMemoryKeys(*parts)(memory)
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        for found, want in zip(graphs("memory_keys", memory), wanted, strict=True):
            assert relative(found, want) < 2e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("slots", [1, 3])
def test_memory_attention_agrees_in_onnx_runtime(
    kind: CrossAttention, slots: int, exported: dict[CrossAttention, Exported]
) -> None:
    """The three graphs after each other in single precision, against the plain model in double."""
    graphs = exported[kind]
    for used, pointers in ((slots, graphs.geometry.pointer_slots), (min(slots, 2), 0)):
        inputs = ports_of(graphs.geometry, slots, used, pointers, seed=slots)
        assert relative(chained(graphs, inputs), fused(graphs.model, inputs)) < 2e-6  # measured 3e-7


def test_very_uneven_scores_in_onnx_runtime() -> None:
    """Scores 40 times as far apart, beside masked ones that are larger still: rounding stays far from visible."""
    graphs = Exported("pooled_score_bias", sharpness=40)
    inputs = ports_of(graphs.geometry, 3, 2, 5, seed=0)
    assert relative(chained(graphs, inputs), fused(graphs.model, inputs)) < 1e-5  # measured 1.4e-6; plain form 4e-7


def test_keys_of_whole_memories_may_be_computed_where_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The contract decides: here it has no keys at the edges of memory attention."""

    def without_keys(geometry: Geometry, deployment: Deployment) -> dict[str, Graph]:
        return {
            name: replace(graph, inputs=tuple(port for port in graph.inputs if not port.name.startswith("keys")))
            for name, graph in ort_contract(geometry, deployment).items()
        }

    monkeypatch.setattr(memory_attention, "ort_contract", without_keys)
    graphs = Exported("full", edges=without_keys)
    inputs = ports_of(graphs.geometry, 3, 2, 5, seed=0)
    assert relative(chained(graphs, inputs), fused(graphs.model, inputs)) < 2e-6  # measured 2e-7
    assert len(graphs.files["memory_attention_3"].graph.input) == 2 + 3 + 3


def test_graphs_use_the_fused_operators(exported: dict[CrossAttention, Exported]) -> None:
    """One per attention, with nothing but queries, keys and values: any other input leaves the tiled path."""
    graphs = exported["pooled_score_bias"]
    inputs = ports_of(graphs.geometry, 3, 3, 0, seed=0)
    with torch.inference_mode():
        values = edges(graphs.model, graphs.geometry, graphs.deployment, inputs, 0)
    graphs("memory_attention_3", *arguments(graphs.geometry, graphs.deployment, 3, values))
    nodes = list(graphs.files["memory_attention_3"].graph.node)
    heads = [node for node in nodes if node.op_type == "MultiHeadAttention"]
    layers = graphs.model.config.memory_layers
    assert len(heads) == 2 * layers - 1
    assert all(len([name for name in node.input if name]) == 3 for node in heads)
    assert sum(node.op_type == "RotaryEmbedding" for node in nodes) == 3 * (layers - 1)
    assert not [node for node in nodes if node.op_type in ("Softmax", "Sin", "Cos", "Gather")]
