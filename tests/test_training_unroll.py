"""The loss of a batch: every prompt trains every part, objects are independent, and parts of a step add up."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch: pip install 'etam-onnx[train]'")
pytest.importorskip("cv2", reason="training clips need OpenCV: pip install 'etam-onnx[train]'")

from small_model import small_model  # noqa: E402

from etam_onnx.model import EfficientTAM, build_model  # noqa: E402
from etam_onnx.training.batch import Batch  # noqa: E402
from etam_onnx.training.clips import Clip, ClipMaker  # noqa: E402
from etam_onnx.training.course import Course, divisors  # noqa: E402
from etam_onnx.training.images import load_images  # noqa: E402
from etam_onnx.training.matching import Matching, patches_seen  # noqa: E402
from etam_onnx.training.options import TrainingOptions  # noqa: E402
from etam_onnx.training.recipes import IMAGES, NANO, VIDEO, Recipe  # noqa: E402
from etam_onnx.training.schedule import StepPlan  # noqa: E402
from etam_onnx.training.start import start_quietly  # noqa: E402
from etam_onnx.training.trainer import Trainer  # noqa: E402
from etam_onnx.training.unroll import ClipLoss  # noqa: E402
from etam_onnx.training.validation import scores_of, sums, track  # noqa: E402

PLAN = StepPlan(seed=5, step=9, size=64, clips=3, times=(0, 1, 9, 10), objects=2)


pytestmark = pytest.mark.usefixtures("one_thread")


def draw(data: Path, plan: StepPlan = PLAN) -> list[tuple[int, Clip]]:
    maker = ClipMaker(load_images(data, "train"))
    return [(n, maker.make(plan.clip_seed(n), plan.size, plan.times, plan.objects)) for n in range(plan.clips)]


@pytest.fixture(scope="module")
def clips(data: Path) -> list[tuple[int, Clip]]:
    return draw(data)


def unrolled(
    model: EfficientTAM, clips: list[tuple[int, Clip]], course: Course, recipe: Recipe = NANO, plan: StepPlan = PLAN
) -> ClipLoss:
    batch = Batch.of(clips, plan, recipe.losses.soft)
    counts = divisors(course, batch.present, recipe.losses)
    return ClipLoss(model, batch, course, recipe.losses, recipe.prompting, counts).run()


def course(kind: str, clicks: tuple[int, ...] = (0, 0, 0, 0), taught: bool = False, every: str | None = None) -> Course:
    return Course(kind, clicks, (taught,) * len(clicks), every)


@pytest.mark.parametrize("recipe", [NANO, VIDEO], ids=["nano", "video"])
@pytest.mark.parametrize(("kind", "corrected"), [("mask", False), ("click", False), ("box", False), ("mask", True)])
def test_every_kind_of_prompt_trains_and_every_part_gets_a_gradient(clips, recipe, kind: str, corrected: bool) -> None:
    model = small_model()
    unrolled(model, clips[:2], course(kind, (0, 0, int(corrected), 0)), recipe).total().backward()
    for name in ("image_encoder", "memory_attention", "memory_encoder", "sam_mask_decoder", "obj_ptr_proj"):
        gradients = [p.grad for p in getattr(model, name).parameters() if p.grad is not None]
        assert gradients and sum(float(g.abs().sum()) for g in gradients) > 0, name
    rows = model.maskmem_tpos_enc.grad.abs().flatten(1).sum(1) > 0
    # The frame at time 9 sees the prompted one only: 1 is too far back. The one at 10 also sees 9, in
    # row 0 or, if it was corrected, as a prompted one.
    assert rows.tolist() == [not corrected, False, False, False, False, False, True]


def test_as_much_is_decoded_as_is_divided_by(clips) -> None:
    model, decoded = small_model(), []
    decode = model.decode
    model.decode = lambda features, *rest, **named: decoded.append(len(features)) or decode(features, *rest, **named)
    for made in (course("click", (2, 0, 1, 0)), course("box"), course("mask", every="click"), course("mask")):
        decoded.clear()
        batch = Batch.of(clips, PLAN, True)
        counts = divisors(made, np.ones_like(batch.present), NANO.losses)
        unrolled(model, clips, made)
        every = len(batch.times) * len(batch.present) if made.every_frame else 0
        weighted = sum(decoded) - every + every / len(batch.times)
        assert counts["presence"] == pytest.approx(weighted), made


def test_an_object_is_tracked_as_if_it_were_alone(clips) -> None:
    model = small_model()
    number, clip = next((n, c) for n, c in clips if len(c.masks) == 2)
    made = course("mask")
    both = unrolled(model, [(number, clip)], made).terms["mask"]
    totals, seen = 0.0, 0.0
    for k in range(2):
        alone = Clip(clip.frames, clip.masks[k : k + 1], clip.surfaces, clip.times)
        batch = Batch.of([(number, alone)], PLAN, True)
        count = divisors(made, batch.present, NANO.losses)["mask"]
        totals += unrolled(model, [(number, alone)], made).terms["mask"].item() * count
        seen += count
    assert both.item() == pytest.approx(totals / seen, rel=1e-5)


@pytest.mark.parametrize("recipe", [NANO, VIDEO, IMAGES], ids=lambda recipe: recipe.name)
def test_a_step_in_parts_is_the_step(data: Path, tmp_path: Path, recipe: Recipe) -> None:
    frames = None if recipe is IMAGES else 4
    weights = []
    for at_once in (None, 1):
        options = TrainingOptions(
            data, tmp_path, recipe=recipe, size=64, frames=frames, steps=9, half=False, at_once=at_once
        )
        trainer = Trainer(options)
        plan = PLAN if frames else StepPlan(5, 9, 64, 3, (0,), 2)
        terms = trainer.step(plan, draw(data, plan), 0.5)
        weights.append((terms, [parameter.detach().clone() for parameter in trainer.model.parameters()]))
    (whole, first), (parts, second) = weights
    assert whole == pytest.approx(parts, rel=1e-5, nan_ok=True)
    # Adam divides by the size of the gradient, so a first step moves rounding errors as far as anything else.
    largest = max(float((a - b).abs().max()) for a, b in zip(first, second, strict=True))
    assert largest <= 2 * whole["rate"]
    assert sum(float((a - b).abs().sum()) for a, b in zip(first, second, strict=True)) < 1e-3 * sum(
        whole["rate"] * a.numel() for a in first
    )


def test_absent_objects_cost_presence_alone(clips) -> None:
    number, clip = clips[0]
    masks = clip.masks[:1].copy()
    masks[:, 1:] = False
    hidden = [(number, Clip(clip.frames, masks, None, clip.times))]
    loss = unrolled(small_model(), hidden, course("mask"), VIDEO)
    assert loss.terms["mask"].item() == loss.terms["iou"].item() == 0
    assert loss.terms["presence"].item() > 0


@pytest.mark.parametrize(("recipe", "hidden"), [(VIDEO, True), (NANO, False)], ids=["video", "nano"])
def test_what_is_remembered_of_a_mask_prompt_follows_the_presence(clips, recipe: Recipe, hidden: bool) -> None:
    model, seen = small_model(), []
    with torch.no_grad():
        model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(-1e3)
    attend = model.attend
    model.attend = lambda features, memories, rows, pointers: (
        seen.append(pointers) or attend(features, memories, rows, pointers)
    )
    unrolled(model, clips[:1], course("mask"), recipe)
    first = seen[0][:, 0]
    assert torch.equal(first, model.no_obj_ptr.expand_as(first)) == hidden


def test_only_the_best_of_three_masks_is_corrected_and_all_three_are_scored(clips) -> None:
    model = small_model()
    with torch.no_grad():  # masks 1 and 3 are hopeless, mask 2 is fair
        for index, bias in ((1, 30.0), (3, 30.0)):
            model.sam_mask_decoder.output_hypernetworks_mlps[index].layers[-1].bias.fill_(bias)
    plan = StepPlan(5, 9, 64, 1, (0,), 1)
    single = [(0, Clip(clips[0][1].frames[:1], clips[0][1].masks[:1, :1], None, (0,)))]
    loss = unrolled(model, single, Course("click", (0,), (False,)), IMAGES, plan)
    loss.terms["mask"].backward(retain_graph=True)
    heads = model.sam_mask_decoder.output_hypernetworks_mlps
    reached = [
        float(h.layers[-1].weight.grad.abs().sum()) > 0 if h.layers[-1].weight.grad is not None else False
        for h in heads
    ]
    assert sum(reached) == 1 and not reached[0]
    model.zero_grad()
    loss.terms["iou"].backward()
    gradient = model.sam_mask_decoder.iou_prediction_head.layers[-1].weight.grad.abs().sum(1)
    assert (gradient > 0).tolist() == [False, True, True, True]


def test_a_quiet_start_answers_with_the_priors(clips) -> None:
    torch.manual_seed(0)
    model = build_model("etam-nano").eval()
    start_quietly(model)
    images = torch.from_numpy(clips[0][1].frames[:2]).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        out = model.decode(model.without_memory(model.encode_image(images)))
    assert out.mask_logits.mean().item() == pytest.approx(-1.5, abs=0.25)
    assert out.mask_logits.std().item() < 0.25
    assert out.presence.mean().item() == pytest.approx(2, abs=0.1)
    assert out.iou.mean().item() == pytest.approx(0.5, abs=0.05)


def test_teaching_writes_memory_from_the_true_mask(clips) -> None:
    model, written = small_model(), []
    encode = model.encode_memory
    model.encode_memory = lambda features, logits, prompted: (
        written.append(logits) or encode(features, logits, prompted)
    )
    taught = unrolled(model, clips, course("click", taught=True))
    assert len(written) == 3
    for index, logits in enumerate(written):
        assert torch.equal(logits, 20 * taught.cells[:, index] - 10)
    written.clear()
    unrolled(model, clips, course("click"))
    assert not torch.equal(written[1], 20 * taught.cells[:, 1] - 10)


def test_matching_counts_what_it_sums(clips) -> None:
    surfaces = torch.from_numpy(np.stack([clip.surfaces for _, clip in clips]))
    assert patches_seen(surfaces) == sum(patches_seen(part[None]) for part in surfaces) > 0
    torch.manual_seed(0)
    matching, features = Matching(8), torch.randn(3, 4, 8, 4, 4)
    whole = matching.sum(features, surfaces)
    parts = sum(matching.sum(features[i : i + 1], surfaces[i : i + 1]) for i in range(3))
    assert whole.item() == pytest.approx(parts.item(), rel=1e-5)
    with torch.no_grad():
        matching.project.weight.zero_()
    # Features that say nothing cost the logarithm of the number of patches.
    assert (matching.sum(features, surfaces) / patches_seen(surfaces)).item() == pytest.approx(np.log(16), rel=1e-4)


def test_only_clips_with_known_surfaces_are_matched(clips) -> None:
    model = small_model()
    (first, synthetic), (second, other) = clips[:2]
    mixed = [(first, Clip(synthetic.frames, synthetic.masks, None, synthetic.times)), (second, other)]
    torch.manual_seed(0)
    matching = Matching(model.config.width)
    found = []
    for part in (mixed, mixed[1:]):
        batch = Batch.of(part, PLAN, True)
        counts = {**divisors(course("mask"), batch.present, NANO.losses), "matching": 7.0}
        loss = ClipLoss(model, batch, course("mask"), NANO.losses, NANO.prompting, counts, matching)
        found.append(loss.terms["matching"].item())
    assert found[0] == pytest.approx(found[1], rel=1e-5) and found[0] > 0


def test_tracking_gives_logits_for_every_later_frame(clips) -> None:
    model = small_model()
    frames = torch.from_numpy(np.stack([clip.frames for _, clip in clips])).permute(0, 1, 4, 2, 3).float()
    masks = torch.from_numpy(np.stack([clip.masks[0, :1] for _, clip in clips])).float()
    with torch.no_grad():
        logits, presence = track(model, frames, masks)
    assert logits.shape == (3, 3, 16, 16) and presence.shape == (3, 3)
    absent = presence <= 0
    assert (logits[absent] == -32).all() and (logits[~absent] != -32).any(-1).any(-1).all()


def test_validation_repeats_and_does_not_depend_on_its_batches(clips) -> None:
    model = small_model().train()
    held_out = [clip for _, clip in clips]
    first, again = (scores_of(sums(model, list(enumerate(held_out)), batch, False)) for batch in (2, 3))
    assert (first.tracking, first.click) == pytest.approx((again.tracking, again.click), abs=1e-6)
    assert first.presence == again.presence and model.training
