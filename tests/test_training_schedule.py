"""Recipes, rates and plans: the numbers of the paper, and steps that depend on seed and step alone."""

import math
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch: pip install 'etam-onnx[train]'")

from etam_onnx.model import build_model  # noqa: E402
from etam_onnx.training.optimizer import clip_gradients, make_optimizer, relative_rate, set_rates  # noqa: E402
from etam_onnx.training.recipes import (  # noqa: E402
    IMAGES,
    NANO,
    RECIPES,
    VIDEO,
    Optimization,
    adjusted,
    recipe_named,
)
from etam_onnx.training.schedule import (  # noqa: E402
    average_decay,
    draw_times,
    plan_step,
    rate_factor,
    stage_at,
    teaching,
)


def test_stages_follow_progress_and_the_size_of_the_model() -> None:
    def sizes(image_size: int) -> list[int]:
        return [stage_at(p, NANO.stages).size(image_size) for p in (0.0, 0.5, 0.99, 1.0)]

    assert sizes(384) == [128, 256, 384, 384]
    assert sizes(512) == [160, 352, 512, 512]
    assert sizes(1024) == [352, 672, 1024, 1024]
    assert [stage_at(p, NANO.stages_for(True)).size(384) for p in (0.0, 0.3, 0.6)] == [384, 256, 384]
    assert VIDEO.stages_for(True) == VIDEO.stages


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_chances_add_up(recipe) -> None:
    for stage in (*recipe.stages, *(recipe.fine_tuning or ())):
        assert sum(stage.chances) == pytest.approx(1) and len(stage.chances) == len(stage.lengths)
    for chances in (recipe.prompting.shares, recipe.prompting.first_clicks):
        assert sum(chances) == pytest.approx(1)
    assert recipe.stages[-1].until == 1.0


def test_the_stages_of_the_paper() -> None:
    for recipe in (IMAGES, VIDEO):
        assert recipe.optimization.betas == (0.9, 0.999) and recipe.optimization.weight_decay == 0.1
        assert recipe.optimization.layer_decay == 0.8
        assert (recipe.losses.focal, recipe.losses.dice) == (20, 1)
    assert IMAGES.optimization.rate == IMAGES.optimization.encoder_rate == 4e-4
    assert (VIDEO.optimization.encoder_rate, VIDEO.optimization.rate) == (6e-5, 3e-4)
    assert (VIDEO.losses.iou, VIDEO.losses.presence) == (1, 1)
    assert IMAGES.objects[0] == 64 and VIDEO.objects == (64, 3)
    assert (IMAGES.steps, VIDEO.steps) == (90_000, 300_000)
    assert VIDEO.schedule.warm_up * VIDEO.steps == pytest.approx(15_000)
    assert all(stage.clips == 256 for recipe in (IMAGES, VIDEO) for stage in recipe.stages)


def test_pictures_and_video_alternate_in_the_second_stage_alone() -> None:
    assert VIDEO.alternates(False) and VIDEO.alternates(True) and NANO.alternates(True)
    assert not any(recipe.alternates(False) for recipe in (NANO, IMAGES, adjusted(VIDEO, length=8)))
    lengths = [len(plan_step(0, step, 0.5, VIDEO, 64).times) for step in range(2000)]
    assert set(lengths) == {1, 8} and np.mean([n == 1 for n in lengths]) == pytest.approx(15.2 / 85.2, abs=0.03)


def test_an_unknown_recipe_is_answered_with_the_known() -> None:
    with pytest.raises(ValueError, match="no recipe 'soup'; there are: nano, images, video"):
        recipe_named("soup")


def test_a_recipe_is_adjusted() -> None:
    changed = adjusted(VIDEO, clips=4, length=5, rate=3e-5, objects=2)
    plan = plan_step(0, 0, 0.5, changed, 512)
    assert (plan.clips, len(plan.times), plan.objects, plan.size) == (4, 5, 2, 512)
    assert changed.optimization.rate == pytest.approx(3e-5)
    assert changed.optimization.encoder_rate == pytest.approx(6e-6)
    with pytest.raises(ValueError, match="The batch must be positive, not 0"):
        adjusted(VIDEO, clips=0)


def test_cosine_warms_up_and_falls() -> None:
    schedule = NANO.schedule
    assert rate_factor(schedule, 0, 0.0) == pytest.approx(1 / 100)
    assert rate_factor(schedule, 1000, 0.0) == 1
    assert rate_factor(schedule, 1000, 0.5) == pytest.approx(0.01 + 0.99 / 2)
    assert rate_factor(schedule, 1000, 1.0) == pytest.approx(0.01)
    assert rate_factor(VIDEO.schedule, 0, 0.025) == pytest.approx(0.5 * (0.1 + 0.45 * (1 + math.cos(0.025 * math.pi))))


def test_reciprocal_square_root_warms_up_falls_and_cools_down() -> None:
    def factor(step: int) -> float:
        return rate_factor(IMAGES.schedule, step, step / 90_000)

    assert factor(500) == pytest.approx(0.5)
    assert factor(1000) == pytest.approx(1)
    assert factor(4000) == pytest.approx(0.5)
    assert factor(81_000) == pytest.approx(1 / 9)
    assert factor(87_500) == pytest.approx(0.5 / math.sqrt(87.5))
    assert factor(90_000) == 0


def test_average_decay_grows_to_its_limit() -> None:
    assert average_decay(0, 0.998) == pytest.approx(0.1)
    assert average_decay(10**6, 0.998) == 0.998


def test_teaching_ends_in_time() -> None:
    assert [teaching(p, 0.4) for p in (0.0, 0.1, 0.4, 1.0)] == pytest.approx([1.0, 0.75, 0.0, 0.0])
    assert teaching(0.0, 0.0) == 0


def test_plans_depend_on_seed_and_step_alone() -> None:
    assert plan_step(3, 7, 0.1, NANO, 384) == plan_step(3, 7, 0.1, NANO, 384)
    assert len({plan_step(3, step, 0.1, NANO, 384).times for step in range(40)}) > 10


def test_processes_deal_the_clips_of_a_step_out() -> None:
    plan = plan_step(0, 4, 0.0, NANO, 384)
    for count in (1, 2, 3, plan.clips + 2):
        dealt = [clip for rank in range(count) for clip in plan.share(rank, count)]
        assert sorted(dealt) == list(range(plan.clips))


def test_seeds_of_clips_prompts_and_steps_differ() -> None:
    plan, following = plan_step(0, 4, 0.0, NANO, 384), plan_step(0, 5, 0.0, NANO, 384)
    streams = [plan.random(), following.random(), *(plan.prompt_random(c, k) for c in range(2) for k in range(2))]
    streams += [np.random.default_rng(plan.clip_seed(clip)) for clip in range(2)]
    assert len({int(rng.integers(2**62)) for rng in streams}) == len(streams)


def test_times_train_every_temporal_row() -> None:
    rng = np.random.default_rng(0)
    rows = set()
    for _ in range(100):
        times = draw_times(rng, 4, NANO)
        assert times[0] == 0 and list(times) == sorted(set(times))
        rows |= {times[-1] - time - 1 for time in times[1:-1]}
    assert set(range(6)) <= rows
    assert draw_times(rng, 1, NANO) == draw_times(rng, 1, IMAGES) == (0,)
    assert draw_times(rng, 8, VIDEO) == tuple(range(8))


def test_layers_of_the_encoder_learn_more_slowly_the_earlier_they_are() -> None:
    names = {
        "image_encoder.trunk.patch_embed.proj.weight": 0.8**7,
        "image_encoder.trunk.blocks.0.attn.qkv.weight": 0.8**6,
        "image_encoder.trunk.blocks.5.mlp.layers.0.bias": 0.8,
        "image_encoder.trunk.pos_embed": 1,
        "image_encoder.neck.convs.0.conv_1x1.weight": 1,
        "memory_attention.layers.0.norm1.weight": 1,
    }
    assert {name: relative_rate(name, 6, 0.8) for name in names} == pytest.approx(names)


def test_every_parameter_is_in_one_group_with_its_rate_and_decay() -> None:
    model = build_model("etam-nano")
    optimizer = make_optimizer(model, 6, VIDEO.optimization)
    set_rates(optimizer, 0.5)
    found = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    assert len(found) == sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))
    block = found[id(model.image_encoder.trunk.blocks[2].attn.qkv.weight)]
    assert (block["lr"], block["weight_decay"]) == (pytest.approx(0.5 * 6e-5 * 0.8**4), 0.1)
    bias = found[id(model.sam_mask_decoder.iou_prediction_head.layers[0].bias)]
    assert (bias["lr"], bias["weight_decay"]) == (pytest.approx(0.5 * 3e-4), 0.0)


def test_gradients_are_clipped_each_and_together() -> None:
    def parameters() -> list[torch.nn.Parameter]:
        made = [torch.nn.Parameter(torch.zeros(2)) for _ in range(2)]
        for parameter, gradient in zip(made, ([300.0, 400.0], [0.3, 0.4]), strict=True):
            parameter.grad = torch.tensor(gradient)
        return made

    together = parameters()
    assert clip_gradients(together, Optimization(1, 1, (0, 0), 0, clip=1.0)) == pytest.approx(500, rel=1e-5)
    assert together[1].grad.norm().item() == pytest.approx(0.001, rel=1e-3)
    each = parameters()
    norm = clip_gradients(each, Optimization(1, 1, (0, 0), 0, clip=1.0, clip_each=1.0))
    assert norm == pytest.approx(math.sqrt(1.25), rel=1e-5)
    assert each[1].grad.norm().item() == pytest.approx(0.5 / math.sqrt(1.25), rel=1e-5)


def test_the_page_shows_the_recipes(repository: Path) -> None:
    page = (repository / "docs" / "training.md").read_text(encoding="utf-8")
    assert list(RECIPES) == ["nano", "images", "video"]

    def row(name: str, *values: object) -> str:
        return f"| {name} | " + " | ".join(str(value) for value in values) + " |"

    recipes, rules = RECIPES.values(), [recipe.optimization for recipe in RECIPES.values()]
    for line in (
        row("learning rate, encoder / rest", *(f"{r.encoder_rate} / {r.rate}" for r in rules)),
        row("AdamW betas", *(r.betas for r in rules)),
        row("weight decay", *(r.weight_decay for r in rules)),
        row("layer-wise decay of the encoder", *(r.layer_decay for r in rules)),
        row("schedule", *(r.schedule.kind for r in recipes)),
        row("largest gradient norm", *(r.clip for r in rules)),
        row(
            "focal : dice : IoU : presence",
            *(" : ".join(f"{w:g}" for w in (r.focal, r.dice, r.iou, r.presence)) for r in (s.losses for s in recipes)),
        ),
        row("matching", *(r.losses.matching for r in recipes)),
        row("teacher, if one is given", *(r.losses.teacher for r in recipes)),
        row("mask, click, box on the first frame", *(r.prompting.shares for r in recipes)),
        row("objects of an image / a clip", *(f"{r.objects[0]} / {r.objects[1]}" for r in recipes)),
        row(
            "budget without `--steps` or `--minutes`",
            *(f"{r.steps} steps" if r.steps else f"{r.minutes:g} minutes" for r in recipes),
        ),
    ):
        assert line in page
