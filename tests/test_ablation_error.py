"""Errors of surrogate attention on memories that a model made, and their picture."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from small_model import small_config, small_model  # noqa: E402

from etam_onnx.ablation.attention_error import (  # noqa: E402
    captured_tokens,
    errors_at,
    locality_at,
    relative_error,
)
from etam_onnx.ablation.attention_matrix import attention_matrix  # noqa: E402
from etam_onnx.ablation.error_picture import draw_study  # noqa: E402
from etam_onnx.ablation.memory_study import MemoryStudy, study_as_json, study_as_table, study_clip  # noqa: E402
from etam_onnx.ablation.variants import surrogates  # noqa: E402
from etam_onnx.model import EfficientTAM, load_weights  # noqa: E402
from etam_onnx.model.cross_attention import full  # noqa: E402

FRAMES = 6


def model_at_128() -> EfficientTAM:
    model = EfficientTAM(replace(small_config(), image_size=128)).eval()
    load_weights(model, small_model().state_dict())
    return model


@pytest.fixture(scope="module")
def study() -> MemoryStudy:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(FRAMES)]
    left, right = np.zeros((2, 48, 64), bool)
    left[10:30, 5:25], right[20:40, 35:60] = True, True
    found = MemoryStudy()
    study_clip(found, model_at_128(), frames, {1: left, 2: right}, surrogates())
    return found


def test_every_layer_frame_object_and_surrogate_is_measured(study: MemoryStudy) -> None:
    assert study.layers == [0, 1]
    assert study.surrogates == list(surrogates())
    # The first frame is prompted, the second reads one memory: measured from the third on.
    measured = [row.frame for row in study.rows if row.layer == 1 and row.surrogate == "linear"]
    assert measured == sorted([*range(2, FRAMES), *range(2, FRAMES)])
    assert {row.memories for row in study.rows if row.frame == 5} == {5}
    assert all(0 < row.output < 10 and row.weights is not None and 0 < row.weights < 10 for row in study.rows)


def test_errors_by_hand(study: MemoryStudy) -> None:
    assert study.last is not None
    q, k, v, kp, vp = study.last
    keys, values = torch.cat((k[0].flatten(0, 1), kp[0])), torch.cat((v[0].flatten(0, 1), vp[0]))
    weights = torch.softmax(q[0] @ keys.T / 8, 1)  # the small model is 64 wide
    surrogate = attention_matrix("pooled_score_bias", q[0], k[0], kp[0])
    last = study.rows[-len(surrogates())]
    assert (last.frame, last.layer, last.surrogate) == (FRAMES - 1, 1, "equation-5")
    assert last.output == pytest.approx(relative_error(surrogate @ values, weights @ values), rel=1e-6)
    assert last.weights == pytest.approx(relative_error(surrogate, weights), rel=1e-6)


def test_surrogates_of_constant_memories_make_no_error_but_linear_does() -> None:
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(1, 64, 8, generator=generator, dtype=torch.float64)
    k, v = (torch.randn(1, 3, 1, 8, generator=generator, dtype=torch.float64).expand(1, 3, 64, 8) for _ in range(2))
    kp, vp = (torch.randn(1, 6, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    rows = {row.surrogate: row for row in errors_at(7, 0, (q, k, v, kp, vp), surrogates())}
    for name in ("equation-5", "window-4"):
        assert rows[name].output == pytest.approx(0, abs=1e-14) and rows[name].weights == pytest.approx(0, abs=1e-14)
    for name in ("equation-6", "no-constant", "pool-all", "local-windows", "linear"):
        assert rows[name].output > 1e-3
    assert all(found.keys < 1e-7 and found.values < 1e-7 for found in locality_at(7, 0, (q, k, v, kp, vp)))


def test_locality_is_the_distance_to_repeated_averages() -> None:
    k = torch.randn(1, 2, 16, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    tokens = (k[:, 0], k, 2 * k, k[:, 0, :2], k[:, 0, :2])
    two, four = locality_at(0, 0, tokens)
    means = k.view(1, 2, 2, 2, 2, 2, 3).mean((3, 5), keepdim=True).expand(1, 2, 2, 2, 2, 2, 3).reshape(k.shape)
    assert two.keys == pytest.approx(relative_error(means, k), rel=1e-14)
    assert two.values == pytest.approx(two.keys, rel=1e-14)
    assert two.keys < four.keys < 1
    assert (two.window, four.window) == (2, 4)


def test_a_single_memory_is_left_out() -> None:
    tokens = tuple(torch.ones(shape) for shape in ((1, 16, 4), (1, 1, 16, 4), (1, 1, 16, 4), (1, 2, 4), (1, 2, 4)))
    assert errors_at(1, 0, tokens, surrogates()) == [] and locality_at(1, 0, tokens) == []  # type: ignore[arg-type]


def test_hooks_see_the_strategy_and_go_away() -> None:
    model = model_at_128()
    torch.manual_seed(0)
    features, memories = torch.randn(1, 64, 8, 8), [torch.randn(1, 64, 16) for _ in range(2)]
    with torch.inference_mode(), captured_tokens(model) as captured:
        model.attend(features, memories, [6, 0], torch.randn(1, 2, 64))
    assert [layer for layer, _ in captured] == [0, 1]
    q, k, _, kp, _ = captured[0][1]
    assert (q.shape, k.shape, kp.shape) == ((1, 64, 64), (1, 2, 64, 64), (1, 8, 64))
    assert full(*captured[0][1]).shape == q.shape
    with torch.inference_mode():
        model.attend(features, memories, [6, 0], torch.randn(1, 2, 64))
    assert len(captured) == 2


def test_table_and_json_agree(study: MemoryStudy) -> None:
    found = json.loads(json.dumps(study_as_json(study)))
    outputs = [row["output"] for row in found["rows"] if row["surrogate"] == "equation-6"]
    mean = found["means"]["equation-6"]["output"]["all"]
    assert mean == pytest.approx(sum(outputs) / len(outputs), rel=1e-12)
    lines = study_as_table(study).splitlines()
    assert lines[0].split() == ["surrogate", "layer", "1", "%", "layer", "2", "%", "output", "%", "weights", "%"]
    (line,) = (line for line in lines if line.startswith("equation-6"))
    assert line.split()[3] == f"{100 * mean:.1f}"
    assert lines[-2].startswith("averages of 2x2 tokens: keys ")


def test_the_picture_has_lines_of_every_colour_and_maps(study: MemoryStudy) -> None:
    picture = np.asarray(draw_study(study, surrogates()))
    assert picture.ndim == 3 and picture.shape[1] == 1194
    for colour in ("#1b6ca8", "#d1495b", "#2e933c", "#e08e1b", "#7a4eab", "#3d3d3d", "#0fa3b1"):
        rgb = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
        # More than its mark in the legend, of about 90 pixels.
        assert (picture == rgb).all(2).sum() > 300
    with pytest.raises(ValueError, match="no cross-attention read two memories"):
        draw_study(MemoryStudy(), surrogates())
