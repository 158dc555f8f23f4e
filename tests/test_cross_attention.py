"""The cross-attention variants against their definitions, token by token, in double precision."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from small_model import small_config, small_model  # noqa: E402

from etam_onnx.ablation.attention_matrix import attention_matrix  # noqa: E402
from etam_onnx.config import CONFIGS, ModelConfig  # noqa: E402
from etam_onnx.model import EfficientTAM, load_weights  # noqa: E402
from etam_onnx.model.cross_attention import (  # noqa: E402
    full,
    join_regions,
    linear,
    local_windows,
    pool_tokens,
    pooled_all,
    pooled_key_constant,
    pooled_plain,
    pooled_score_bias,
    split_regions,
    strategy_for,
)

GRID, CHANNELS, MEMORIES, POINTERS = 4, 6, 3, 10
# Rounding of sums of a few dozen doubles; 1.9e-15 was the most measured, against the definitions 5.6e-16.
EXACT = {"rtol": 0.0, "atol": 4e-15}
KINDS = ("full", "pooled_score_bias", "pooled_key_constant", "pooled_plain", "pooled_all", "local_windows", "linear")


def tokens(seed: int = 0, pointers: int = POINTERS, memories: int = MEMORIES, grid: int = GRID):
    """Queries, spatial keys and values, pointer keys and values, double."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    n = grid * grid
    return (
        noise(2, n, CHANNELS),
        noise(2, memories, n, CHANNELS),
        noise(2, memories, n, CHANNELS),
        noise(2, pointers, CHANNELS),
        noise(2, pointers, CHANNELS),
    )


def window_mean(x: np.ndarray, row: int, column: int, side: int) -> np.ndarray:
    """Mean of the tokens (N, C) of one window, one by one."""
    inside = [x[r * GRID + c] for r in range(GRID) for c in range(GRID) if r // side == row and c // side == column]
    assert len(inside) == side * side
    return sum(inside) / len(inside)


def by_definition(kind: str, window: int, parts) -> np.ndarray:
    """The output, with loops over examples, queries and keys."""
    q, k, v, kp, vp = (part.numpy() for part in parts)
    out = np.zeros_like(q)
    for b in range(len(q)):
        for n in range(q.shape[1]):
            pairs = list(_readable(kind, window, n, k[b], v[b], kp[b], vp[b]))
            if kind == "linear":
                weights = [phi(q[b, n]) @ phi(key) for key, _, _ in pairs]
            else:
                weights = [math.exp(q[b, n] @ key / math.sqrt(CHANNELS)) * count for key, _, count in pairs]
            out[b, n] = sum(w * value for w, (_, value, _) in zip(weights, pairs, strict=True)) / sum(weights)
    return out


def phi(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))


def _readable(kind: str, window: int, query: int, k, v, kp, vp):
    """(key, value, how often it counts) of all that one query reads."""
    half = GRID // 2
    for m in range(len(k)):
        if kind.startswith("pooled"):
            for row in range(GRID // window):
                for column in range(GRID // window):
                    key, value = (window_mean(x[m], row, column, window) for x in (k, v))
                    if kind == "pooled_key_constant":
                        key = key + math.log(window**2)
                    yield key, value, window**2 if kind in ("pooled_score_bias", "pooled_all") else 1
        else:
            for token in range(GRID * GRID):
                same = all(
                    a // half == b // half for a, b in zip(divmod(token, GRID), divmod(query, GRID), strict=True)
                )
                if same or kind != "local_windows":
                    yield k[m, token], v[m, token], 1
    length = window**2 if kind == "pooled_all" else 1
    for start in range(0, len(kp), length):
        run = slice(start, min(start + length, len(kp)))
        yield kp[run].mean(0), vp[run].mean(0), run.stop - run.start


@pytest.mark.parametrize("pointers", [POINTERS, 0])
@pytest.mark.parametrize(
    ("kind", "window"), [(kind, window) for kind in KINDS for window in ((1, 2, 4) if "pooled" in kind else (2,))]
)
def test_every_variant_is_its_definition(kind: str, window: int, pointers: int) -> None:
    parts = tokens(pointers=pointers)
    found = strategy_for(kind, MEMORIES, window)(*parts).numpy()  # type: ignore[arg-type]
    np.testing.assert_allclose(found, by_definition(kind, window, parts), **EXACT)


@pytest.mark.parametrize("pointers", [POINTERS, 0])
@pytest.mark.parametrize("window", [2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_the_matrix_of_weights_is_what_a_variant_does_to_unit_values(kind: str, window: int, pointers: int) -> None:
    q, k, _, kp, _ = (part[:1] for part in tokens(3, pointers))
    spatial = MEMORIES * GRID * GRID
    unit = torch.eye(spatial + pointers, dtype=torch.float64)
    v, vp = unit[:spatial].view(1, MEMORIES, GRID * GRID, -1), unit[None, spatial:]
    found = attention_matrix(kind, q[0], k[0], kp[0], window=window)  # type: ignore[arg-type]
    torch.testing.assert_close(found, strategy_for(kind, MEMORIES, window)(q, k, v, kp, vp)[0], **EXACT)  # type: ignore[arg-type]
    torch.testing.assert_close(found.sum(1), torch.ones(GRID * GRID, dtype=torch.float64), **EXACT)


def constant_windows(side: int):
    """Tokens whose keys and values agree within every window."""
    q, _, _, kp, vp = tokens(1)
    _, coarse_k, coarse_v, _, _ = tokens(2, grid=GRID // side)
    k, v = (
        x.unflatten(2, (GRID // side, GRID // side)).repeat_interleave(side, 2).repeat_interleave(side, 3).flatten(2, 3)
        for x in (coarse_k, coarse_v)
    )
    return q, k, v, kp, vp


@pytest.mark.parametrize("side", [2, 4])
def test_equation_5_is_full_attention_where_windows_are_constant(side: int) -> None:
    parts = constant_windows(side)
    torch.testing.assert_close(pooled_score_bias(*parts, window=side), full(*parts), **EXACT)
    for other in (pooled_key_constant, pooled_plain):
        assert (other(*parts, window=side) - full(*parts)).abs().max() > 1e-2


def test_pooling_everything_is_full_attention_where_windows_and_runs_are_constant() -> None:
    q, k, v, kp, vp = constant_windows(2)
    kp, vp = (x[:, :3].repeat_interleave(4, 1)[:, :10] for x in (kp, vp))  # runs of 4, 4 and 2
    torch.testing.assert_close(pooled_all(q, k, v, kp, vp), full(q, k, v, kp, vp), **EXACT)
    loose = tokens(5)
    assert (pooled_all(*loose) - pooled_score_bias(*loose)).abs().max() > 1e-2


@pytest.mark.parametrize("strategy", [pooled_score_bias, pooled_key_constant, pooled_plain, pooled_all])
def test_windows_of_1_pool_nothing(strategy) -> None:
    parts = tokens(6)
    torch.testing.assert_close(strategy(*parts, window=1), full(*parts), **EXACT)


def test_one_local_window_is_full_attention() -> None:
    parts = tokens(7)
    torch.testing.assert_close(local_windows(*parts, regions=1), full(*parts), **EXACT)


def test_local_windows_see_their_own_quarter_and_all_pointers() -> None:
    q, k, v, kp, vp = tokens(8)
    before = local_windows(q, k, v, kp, vp)
    top_left = [0, 1, 4, 5]
    v[:, :, top_left] += 1
    changed = (local_windows(q, k, v, kp, vp) - before).abs().amax((0, 2)) > 0
    assert changed.nonzero().flatten().tolist() == top_left
    changed = (local_windows(q, k, v, kp, vp + 1) - before).abs().amax((0, 2)) > 0
    assert changed.all()


def test_regions_are_cut_and_joined() -> None:
    x = torch.arange(16.0).view(1, 1, 16, 1)
    assert split_regions(x, 2)[0, :, 0, :, 0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert join_regions(split_regions(x, 2)[:, :, 0], 2).equal(x[:, 0])


@pytest.mark.parametrize("function", [pool_tokens, split_regions])
def test_windows_that_do_not_fit_are_refused(function) -> None:
    with pytest.raises(ValueError, match=r"3x3 .*a memory of 4x4 tokens"):
        function(torch.zeros(1, 1, 16, 1), 3)


def test_linear_attention_is_an_average_even_of_opposite_keys() -> None:
    q, k, v, kp, vp = tokens(9)
    found = linear(-100 * q, -100 * k, torch.ones_like(v), -100 * kp, torch.ones_like(vp))
    torch.testing.assert_close(found, torch.ones_like(found), **EXACT)


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_memory_is_read_in_full_unless_the_variant_is_no_pooling(kind: str) -> None:
    assert (strategy_for(kind, 1) is full) == (kind not in ("local_windows", "linear"))  # type: ignore[arg-type]


def variant(**changes: object) -> ModelConfig:
    return replace(small_config(), image_size=128, **changes)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_fit_every_variant(kind: str) -> None:
    source = small_model()
    model = EfficientTAM(variant(cross_attention=kind, object_pointers=False))
    load_weights(model, source.state_dict())
    assert list(model.state_dict()) == list(source.state_dict())


def test_published_models_pool_2x2_and_read_pointers() -> None:
    for config in CONFIGS.values():
        assert (config.pool_window, config.object_pointers) == (2, True)


def test_without_object_pointers_they_do_not_matter() -> None:
    torch.manual_seed(0)
    features, memories = torch.randn(1, 64, 8, 8), [torch.randn(1, 64, 16) for _ in range(2)]
    first, second, none = torch.randn(1, 2, 64), torch.randn(1, 2, 64), torch.randn(1, 0, 64)
    state = small_model().state_dict()
    for on in (True, False):
        model = EfficientTAM(variant(object_pointers=on)).eval()
        load_weights(model, state)
        with torch.inference_mode():
            one, other, without = (model.attend(features, memories, [6, 0], p) for p in (first, second, none))
        assert torch.equal(one, other) == (not on)
        assert torch.equal(one, without) == (not on)


def test_the_window_of_the_configuration_is_used() -> None:
    torch.manual_seed(0)
    features, memories = torch.randn(1, 64, 8, 8), [torch.randn(1, 64, 16) for _ in range(2)]
    pointers = torch.randn(1, 2, 64)
    state = small_model().state_dict()
    found = {}
    for window, kind in ((1, "pooled_score_bias"), (2, "pooled_score_bias"), (4, "pooled_score_bias"), (2, "full")):
        model = EfficientTAM(variant(cross_attention=kind, pool_window=window)).double().eval()
        load_weights(model, {name: tensor.double() for name, tensor in state.items()})
        with torch.inference_mode():
            inputs = (features.double(), [m.double() for m in memories], [6, 0], pointers.double())
            found[window, kind] = model.attend(*inputs)
    torch.testing.assert_close(found[1, "pooled_score_bias"], found[2, "full"], **EXACT)
    assert (found[2, "pooled_score_bias"] - found[2, "full"]).abs().max() > 1e-3
    assert (found[4, "pooled_score_bias"] - found[2, "pooled_score_bias"]).abs().max() > 1e-3


def test_windows_must_divide_the_grid() -> None:
    with pytest.raises(ValueError, match="pool_window 4 does not divide the 6x6 feature grid"):
        replace(small_config(), pool_window=4)
    with pytest.raises(ValueError, match="local_windows 0 does not divide"):
        replace(small_config(), local_windows=0)


@pytest.mark.parametrize(
    "changes",
    [
        {"cross_attention": "linear"},
        {"cross_attention": "pooled_plain"},
        {"pool_window": 4},
        {"object_pointers": False},
    ],
)
def test_what_has_no_static_graph_is_not_exported(tmp_path: Path, changes: dict[str, object]) -> None:
    pytest.importorskip("onnx")
    from etam_onnx.conversion.bundle_writer import export_bundle

    with pytest.raises(ValueError, match="only models with object pointers and a cross-attention of full, pooled"):
        export_bundle(EfficientTAM(variant(**changes)).eval(), tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []
