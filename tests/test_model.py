"""The PyTorch model: names and shapes of the published checkpoints, attention variants, sizes, loading."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from small_model import small_config, small_model  # noqa: E402

from etam_onnx.config import CONFIGS, ModelConfig, config_named  # noqa: E402
from etam_onnx.model import EfficientTAM, build_model, load_checkpoint, load_weights  # noqa: E402
from etam_onnx.model.checkpoint import CheckpointError  # noqa: E402
from etam_onnx.model.cross_attention import (  # noqa: E402
    full,
    pool_tokens,
    pooled_key_constant,
    pooled_score_bias,
    strategy_for,
)
from etam_onnx.model.position import rotary_tables, rotate_pairs, sine_position  # noqa: E402


@pytest.mark.parametrize("name", [name for name in CONFIGS if name.startswith("efficienttam")])
def test_published_names_and_shapes(reference_dir: Path, name: str) -> None:
    published = json.loads((reference_dir / "state_dicts.json").read_text())
    entry = published["published"][name]
    with torch.device("meta"):
        model = build_model(name)
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == published["shapes"][entry["shapes"]]
    assert model.config.image_size == entry["image_size"]
    stated = entry["cross_attention"]
    if stated == "full":
        assert model.config.cross_attention == "full"
    else:
        equations = {"equation 5": "pooled_score_bias", "equation 6": "pooled_key_constant"}
        assert [kind for words, kind in equations.items() if words in stated] == [model.config.cross_attention]


def test_the_default_is_small() -> None:
    parameters = sum(p.numel() for p in build_model("etam-nano").parameters())
    assert parameters < 8_000_000


def test_pooled_attention_equals_full_where_windows_are_constant() -> None:
    """If the four keys and values of every window agree, equation 5 is exactly full attention: log 4 counts them."""
    torch.manual_seed(0)
    grid, channels = 4, 8
    coarse = torch.randn(1, 3, 2, 2, channels)
    k, v = (x.repeat_interleave(2, 2).repeat_interleave(2, 3).flatten(2, 3) for x in (coarse, coarse.flip(1)))
    q, kp, vp = torch.randn(1, grid * grid, channels), torch.randn(1, 5, channels), torch.randn(1, 5, channels)
    torch.testing.assert_close(pooled_score_bias(q, k, v, kp, vp), full(q, k, v, kp, vp), rtol=1e-5, atol=1e-6)


def test_equation_6_adds_log_4_to_every_channel_of_pooled_keys() -> None:
    torch.manual_seed(0)
    q, kp, vp = torch.randn(1, 16, 8), torch.randn(1, 2, 8), torch.randn(1, 2, 8)
    k, v = torch.randn(1, 2, 16, 8), torch.randn(1, 2, 16, 8)
    keys = torch.cat((pool_tokens(k).flatten(1, 2) + float(np.log(4)), kp), 1)
    values = torch.cat((pool_tokens(v).flatten(1, 2), vp), 1)
    expected = torch.softmax(q @ keys.transpose(1, 2) / 8**0.5, -1) @ values
    torch.testing.assert_close(pooled_key_constant(q, k, v, kp, vp), expected, rtol=1e-5, atol=1e-6)


def test_pooling_averages_2x2_windows_per_memory() -> None:
    tokens = torch.arange(2 * 16.0).view(1, 2, 16, 1)
    assert pool_tokens(tokens).flatten().tolist() == [2.5, 4.5, 10.5, 12.5, 18.5, 20.5, 26.5, 28.5]


@pytest.mark.parametrize("kind", ["full", "pooled_score_bias", "pooled_key_constant"])
def test_one_memory_is_never_pooled(kind: str) -> None:
    assert strategy_for(kind, 1) is full  # type: ignore[arg-type]
    model, plain = small_model(kind), small_model("full")  # type: ignore[arg-type]
    features, memory = torch.randn(1, 64, 6, 6), torch.randn(1, 36, 16)
    pointers = torch.randn(1, 2, 64)
    with torch.inference_mode():
        alike = [m.attend(features, [memory], [6], pointers) for m in (model, plain)]
        two = [m.attend(features, [memory, 2 * memory], [6, 0], pointers) for m in (model, plain)]
    assert torch.equal(*alike)
    assert torch.equal(*two) == (kind == "full")


def test_slot_order_is_irrelevant_and_no_pointers_are_fine() -> None:
    model = small_model()
    features, a, b = torch.randn(1, 64, 6, 6), torch.randn(1, 36, 16), torch.randn(1, 36, 16)
    none = torch.zeros(1, 0, 64)
    with torch.inference_mode():
        one, other = model.attend(features, [a, b], [6, 0], none), model.attend(features, [b, a], [0, 6], none)
        swapped = model.attend(features, [a, b], [0, 6], none)
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(one, swapped, atol=1e-3)


def test_sine_position_of_the_first_and_last_cell() -> None:
    table = sine_position(4, 8)
    first, last = 2 * np.pi / 4, 2 * np.pi
    assert table.shape == (8, 4, 4)
    np.testing.assert_allclose(
        table[:4, 0, 3], [np.sin(first), np.cos(first), np.sin(first / 100), np.cos(first / 100)], atol=1e-6
    )
    np.testing.assert_allclose(
        table[4:, 0, 3], [np.sin(last), np.cos(last), np.sin(last / 100), np.cos(last / 100)], atol=1e-5
    )


def test_rotation_keeps_length_and_depends_on_distance_only() -> None:
    torch.manual_seed(0)
    cos, sin = rotary_tables(4, 8)
    np.testing.assert_allclose(cos**2 + sin**2, 1, atol=1e-6)
    q, k = torch.randn(8).expand(1, 16, 8), torch.randn(8).expand(1, 16, 8)
    scores = (rotate_pairs(q, 4) @ rotate_pairs(k, 4).transpose(1, 2))[0].view(4, 4, 4, 4)
    torch.testing.assert_close(scores[0, 0, 1, 2], scores[2, 1, 3, 3], rtol=1e-4, atol=1e-5)
    assert rotate_pairs(q, 4)[0, 0].equal(q[0, 0])


def test_features_follow_the_input_size() -> None:
    model = small_model()
    with torch.inference_mode():
        assert model.encode_image(torch.zeros(1, 3, 64, 64)).shape == (1, 64, 4, 4)
        assert model.encode_image(torch.zeros(2, 3, 128, 128)).shape == (2, 64, 8, 8)


def test_an_empty_mask_is_an_absent_object() -> None:
    model = small_model()
    with torch.inference_mode():
        low, pointer, presence = model.prompt_with_mask(torch.randn(1, 64, 6, 6), torch.zeros(1, 1, 96, 96))
    assert presence.item() == -10
    assert torch.equal(pointer, model.no_obj_ptr)
    torch.testing.assert_close(low, torch.full_like(low, -10))


def save(path: Path, model: EfficientTAM, **changes: torch.Tensor | None) -> Path:
    state = dict(model.state_dict())
    for name, value in changes.items():
        name = name.replace("__", ".")
        state.pop(name, None)
        if value is not None:
            state[name] = value
    torch.save({"model": state}, path)
    return path


def test_checkpoints_load_under_their_own_names(tmp_path: Path) -> None:
    source = build_model("etam-nano")
    loaded = load_checkpoint("etam-nano", save(tmp_path / "w.pt", source))
    assert not loaded.training
    assert all(
        torch.equal(a, b) for a, b in zip(source.state_dict().values(), loaded.state_dict().values(), strict=True)
    )


def test_unusable_checkpoints_are_one_sentence(tmp_path: Path) -> None:
    model = build_model("etam-nano")
    cases = {
        "lacks the tensor no_obj_ptr": save(tmp_path / "missing.pt", model, no_obj_ptr=None),
        r"has no_obj_ptr of shape \(1, 7\), expected \(1, 128\)": save(
            tmp_path / "shape.pt", model, no_obj_ptr=torch.zeros(1, 7)
        ),
        "has 1 tensors that the model does not know, first extra": save(
            tmp_path / "extra.pt", model, extra=torch.zeros(1)
        ),
        "non-finite values in no_obj_ptr": save(tmp_path / "nan.pt", model, no_obj_ptr=torch.full((1, 128), torch.nan)),
    }
    for sentence, path in cases.items():
        with pytest.raises(CheckpointError, match=sentence):
            load_checkpoint("etam-nano", path)
    with pytest.raises(CheckpointError, match=r"does not fit the configuration efficienttam_ti.*fit etam-nano"):
        load_checkpoint("efficienttam_ti", save(tmp_path / "w.pt", model))
    with pytest.raises(FileNotFoundError, match="there is no checkpoint at"):
        load_checkpoint("etam-nano", tmp_path / "nowhere.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(CheckpointError, match="is not a PyTorch checkpoint"):
        load_checkpoint("etam-nano", tmp_path / "text.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="expected a dictionary"):
        load_checkpoint("etam-nano", tmp_path / "list.pt")


def test_configurations_refuse_nonsense() -> None:
    with pytest.raises(ValueError, match="unknown model 'tiny', expected one of: efficienttam_s"):
        config_named("tiny")
    with pytest.raises(ValueError, match="unknown cross_attention"):
        small_config("soft")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not a multiple of 32"):
        config_named("etam-nano", image_size=100)
    assert isinstance(config_named("etam-nano", image_size=256), ModelConfig)


def test_loading_into_a_model_checks_first() -> None:
    model = small_model()
    before = model.no_obj_ptr.clone()
    with pytest.raises(CheckpointError):
        load_weights(model, {"no_obj_ptr": torch.zeros(1, 64)})
    assert torch.equal(model.no_obj_ptr, before)
