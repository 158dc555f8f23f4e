"""Variants of a configuration, what they cost, and the study that runs them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from small_model import small_config, small_model  # noqa: E402

from etam_onnx.ablation.cost import cost_of, count_flops, time_frame  # noqa: E402
from etam_onnx.ablation.report import results_as_json, results_as_table  # noqa: E402
from etam_onnx.ablation.scoring import clip_exam, examine, mean_over_objects  # noqa: E402
from etam_onnx.ablation.study import Study  # noqa: E402
from etam_onnx.ablation.variants import AXES, Variant, half_size, plain_form, variants_of  # noqa: E402
from etam_onnx.config import CONFIGS, ModelConfig  # noqa: E402

NANO = CONFIGS["etam-nano"]


def base_config() -> ModelConfig:
    """The small model at 128 pixels, so that windows of 4 fit its 8x8 grid."""
    return replace(small_config(), image_size=128)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "small.pt"
    torch.save({"model": small_model().state_dict()}, path)
    return path


def square_clip(frames: int = 5, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """A bright square that moves over noise, and its mask."""
    rng = np.random.default_rng(0)
    video = rng.integers(0, 90, (frames, size, size, 3), dtype=np.uint8)
    masks = np.zeros((frames, size, size), bool)
    for number in range(frames):
        masks[number, 20:44, 10 + 3 * number : 34 + 3 * number] = True
    video[masks] += 150
    return video, masks


def test_every_axis_and_each_function_once() -> None:
    labels = [variant.label for variant in variants_of(NANO)]
    assert labels == [
        "base = equation-5",
        "no-pointers",
        "full = window-1",
        "pool-all",
        "window-4",
        "equation-6",
        "no-constant",
        "local-windows",
        "linear",
        "size-192",
    ]
    assert variants_of(CONFIGS["efficienttam_s"])[0].label == "base = full = window-1"
    assert len({variant.config for variant in variants_of(NANO)}) == len(labels)


@pytest.mark.parametrize(
    ("axis", "labels"),
    [
        ("pointers", ["base", "no-pointers"]),
        ("tokens", ["base = equation-5", "pool-all"]),
        ("window", ["base = equation-5", "full = window-1", "window-4"]),
        ("resolution", ["base", "size-192"]),
    ],
)
def test_one_axis(axis: str, labels: list[str]) -> None:
    assert [variant.label for variant in variants_of(NANO, [axis])] == labels


def test_named_variants_and_sizes() -> None:
    found = variants_of(NANO, names=["size-256", "linear"])
    assert [(v.key, v.config.cross_attention, v.config.image_size) for v in found] == [
        ("linear", "linear", 384),
        ("size-256", "pooled_score_bias", 256),
    ]
    assert [v.label for v in variants_of(NANO, ["resolution"], sizes=[384, 256])] == ["base = size-384", "size-256"]
    assert (half_size(CONFIGS["efficienttam_ti"]), half_size(NANO), half_size(small_config())) == (512, 192, 32)


def test_a_base_without_pointers_keeps_that() -> None:
    bare = replace(NANO, object_pointers=False)
    assert [v.label for v in variants_of(bare, ["pointers"])] == ["base = no-pointers"]
    assert not any(v.config.object_pointers for v in variants_of(bare))


def test_unknown_names_are_listed() -> None:
    with pytest.raises(ValueError, match=f"there is no axis 'colour'; there are: {', '.join(AXES)}"):
        variants_of(NANO, ["colour"])
    with pytest.raises(ValueError, match="there is no variant 'cubic'; there are: base, no-pointers"):
        variants_of(NANO, names=["cubic"])
    with pytest.raises(ValueError, match="no axis is chosen"):
        variants_of(NANO, [])
    with pytest.raises(ValueError, match="the variant window-4 is impossible: pool_window 4 does not divide the 6x6"):
        variants_of(small_config(), ["window"])
    with pytest.raises(ValueError, match="the variant size-100 is impossible: image_size 100"):
        variants_of(NANO, ["resolution"], sizes=[100])


def test_fields_that_do_not_matter_are_put_aside() -> None:
    assert plain_form(replace(NANO, pool_window=1)) == replace(NANO, cross_attention="full")
    assert plain_form(replace(NANO, local_windows=4)) == NANO
    local = replace(NANO, cross_attention="local_windows", local_windows=4)
    assert plain_form(local) == local


def by_hand(config: ModelConfig, keys: int) -> int:
    """Operations of memory attention that reads `keys` memory tokens: two per multiply-add, nothing but products."""
    n, c, cm = config.grid**2, config.width, config.memory_width
    spatial = (config.recent_memories + 1) * n
    pointers = config.recent_pointers * config.pointer_tokens
    self_attention = 4 * n * c * c + 2 * n * n * c
    projections = 2 * n * c * c + 2 * (spatial + pointers) * cm * c
    mlp = 2 * n * c * config.memory_mlp_width
    return 2 * config.memory_layers * (self_attention + projections + 2 * n * keys * c + mlp)


def test_operations_of_memory_attention_by_hand() -> None:
    n, frames = NANO.grid**2, 7
    assert n == 576
    expected = {"full": 7 * 576 + 30, "pooled_score_bias": 7 * 144 + 30, "pooled_all": 7 * 144 + 8}
    for kind, keys in expected.items():
        config = replace(NANO, cross_attention=kind)  # type: ignore[arg-type]
        assert count_flops(config)["memory_attention"] == by_hand(config, keys)
    local = replace(NANO, cross_attention="local_windows")
    assert count_flops(local)["memory_attention"] == by_hand(local, frames * 144 + 30)
    # No pointers: neither projected nor read.
    bare = replace(NANO, object_pointers=False, cross_attention="full")
    pointer_projections = 2 * 2 * 2 * 30 * NANO.memory_width * NANO.width
    assert count_flops(bare)["memory_attention"] == by_hand(bare, 7 * 576) - pointer_projections


def test_operations_of_the_image_encoder_by_hand() -> None:
    config = replace(base_config(), vit_depth=1, vit_global_blocks=(0,))
    n, c, width = config.grid**2, config.vit_width, config.width
    patches = n * 3 * config.stride**2 * c
    block = 4 * n * c * c + 2 * n * n * c + 8 * n * c * c
    neck = n * (c * width + 9 * width * width)
    assert count_flops(config)["image_encoder"] == 2 * (patches + block + neck)


def test_cost_of_a_model() -> None:
    model = small_model()
    cost = cost_of(model, repeats=2)
    assert cost.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert cost.gigaflops == sum(cost.flops.values()) / 1e9
    assert list(cost.flops) == ["image_encoder", "memory_attention", "mask_decoder", "memory_encoder"]
    assert cost.milliseconds is not None and 0 < cost.milliseconds < 10_000
    assert cost_of(model).milliseconds is None
    with pytest.raises(ValueError, match="at least once, not 0 times"):
        time_frame(model, 0)


def test_a_clip_is_scored_after_its_first_frame_and_before_its_last() -> None:
    video, masks = square_clip()
    exam = clip_exam("square", video, masks)
    done: list[int] = []
    scores = examine(small_model(), [exam], done.append)
    assert done == [5]
    assert list(scores) == ["square"] and list(scores["square"]) == [1]
    score = scores["square"][1]
    assert 0 <= score.j <= 100 and 0 <= score.f <= 100
    assert mean_over_objects(scores) == score


def study(weights: Path | None, folder: Path | None, **changes: object) -> Study:
    settings: dict = dict(weights=weights, exams=[clip_exam("square", *square_clip())], folder=folder, repeats=0)
    return Study(**{**settings, **changes})


def test_results_are_kept_and_read_again(weights: Path, tmp_path: Path) -> None:
    variants = variants_of(base_config(), names=["base", "full", "linear"])
    first = [study(weights, tmp_path).run(variant) for variant in variants]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base.json", "full.json", "linear.json"]
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    (tmp_path / "full.json").unlink()
    again = [study(weights, tmp_path).run(variant) for variant in variants]
    assert again == first
    assert {path: path.stat().st_mtime_ns for path in times if path.name != "full.json"} == {
        path: time for path, time in times.items() if path.name != "full.json"
    }
    assert first[0].scores != first[2].scores
    assert first[1].cost.flops["memory_attention"] > first[0].cost.flops["memory_attention"]


def test_results_of_other_settings_are_refused(weights: Path, tmp_path: Path) -> None:
    (variant,) = variants_of(base_config(), names=["base"])
    study(weights, tmp_path, exams=[]).run(variant)
    with pytest.raises(ValueError, match=r"base\.json was made with other settings \(exams\)"):
        study(weights, tmp_path).run(variant)
    with pytest.raises(ValueError, match=r"other settings \(weights\)"):
        study(None, tmp_path, exams=[]).run(variant)
    (tmp_path / "base.json").write_text('{"settings": ')
    with pytest.raises(ValueError, match=r"base\.json is not a result of an ablation"):
        study(weights, tmp_path).run(variant)


def test_the_table_and_its_json(weights: Path) -> None:
    results = [study(weights, None).run(v) for v in variants_of(base_config(), names=["base", "equation-5", "linear"])]
    lines = results_as_table(results).splitlines()
    assert lines[0].split("  ")[0] == "variant" and "J&F" in lines[0] and "ms" not in lines[0].split()
    assert lines[2].startswith("base = equation-5") and lines[3].startswith("linear")
    assert "a multiply-add counts as two" in lines[-1]
    report = json.loads(json.dumps(results_as_json(results, {"mode": "evaluate"})))
    entry = report["variants"][0]
    assert entry["names"] == ["base", "equation-5"]
    assert entry["mean"]["J"] == results[0].scores["square"][1].j
    assert entry["mean"]["J&F"] == (entry["mean"]["J"] + entry["mean"]["F"]) / 2
    assert entry["cost"]["gigaflops"] == sum(entry["cost"]["flops"].values()) / 1e9
    assert entry["config"]["pool_window"] == 2


def test_costs_need_neither_weights_nor_exams() -> None:
    result = study(None, None, exams=[]).run(Variant(("base",), base_config()))
    assert result.scores == {}
    assert "J&F" not in results_as_table([result])
