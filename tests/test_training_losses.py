"""Losses, prompts and schedule against values worked out by hand."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch: pip install 'etam-onnx[train]'")
pytest.importorskip("cv2", reason="training clips need OpenCV: pip install 'etam-onnx[train]'")

from etam_onnx.training.losses import (  # noqa: E402
    dice_loss,
    focal_loss,
    mask_loss,
    mean_where,
    overlap_of,
    presence_loss,
)
from etam_onnx.training.prompts import corrective_click, first_click, loose_box  # noqa: E402
from etam_onnx.training.schedule import (  # noqa: E402
    PEAK_RATE,
    STAGES,
    WARM_UP_STEPS,
    average_decay,
    draw_times,
    learning_rate,
    plan_step,
    stage_at,
    teaching,
)

ODDS_OF_THREE = math.log(3)  # probability 0.75


def test_focal_loss_by_hand() -> None:
    logits = torch.full((1, 1, 2, 2), ODDS_OF_THREE)
    target = torch.tensor([1.0, 1.0, 0.0, 0.0]).view(1, 1, 2, 2)
    right, wrong = -math.log(0.75) * 0.25**2, -math.log(0.25) * 0.75**2
    assert focal_loss(logits, target).item() == pytest.approx(0.5 * (right + wrong) / 2, rel=1e-6)


def test_dice_loss_by_hand() -> None:
    logits = torch.full((1, 1, 2, 2), ODDS_OF_THREE)
    target = torch.tensor([1.0, 1.0, 0.0, 0.0]).view(1, 1, 2, 2)
    assert dice_loss(logits, target).item() == pytest.approx(1 - (2 * 1.5 + 1) / (3 + 2 + 1), rel=1e-6)


def test_a_confident_right_mask_costs_nothing_and_a_wrong_one_much() -> None:
    target = torch.zeros(1, 1, 4, 4)
    target[..., :2] = 1
    logits = torch.cat([40 * target - 20, 20 - 40 * target], 1)
    cost = mask_loss(logits, target)
    assert cost[0, 0].item() == pytest.approx(0, abs=1e-6)
    assert cost[0, 1].item() == pytest.approx(20 * 0.5 * 20 + 1 - 1 / 17, rel=1e-4)


def test_every_mask_is_judged_by_itself() -> None:
    target = torch.rand(2, 1, 6, 6)
    logits = torch.randn(2, 4, 6, 6)
    together = mask_loss(logits, target)
    assert together.shape == (2, 4)
    assert together[1, 2].item() == pytest.approx(mask_loss(logits[1:, 2:3], target[1:]).item(), rel=1e-5)


def test_overlap_counts_cells() -> None:
    target = torch.tensor([1.0, 1.0, 0.0, 0.0]).view(1, 1, 2, 2)
    logits = torch.stack([torch.tensor([1.0, -1, 1, -1]), torch.full((4,), -1.0)]).view(1, 2, 2, 2)
    assert overlap_of(logits, target)[0].tolist() == pytest.approx([1 / 3, 0])
    assert overlap_of(-torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)).item() == 1


def test_presence_loss_by_hand() -> None:
    logit = torch.tensor([[ODDS_OF_THREE], [ODDS_OF_THREE]])
    loss = presence_loss(logit, torch.tensor([True, False]))
    assert loss.tolist() == pytest.approx([-math.log(0.75), -math.log(0.25)])


def test_mean_over_nothing_is_zero() -> None:
    values = torch.tensor([3.0, 5.0])
    assert mean_where(values, torch.tensor([False, True])).item() == 5
    assert mean_where(values, torch.tensor([False, False])).item() == 0


def test_first_click_is_inside_and_missing_for_an_empty_mask() -> None:
    masks = np.zeros((2, 40, 40), bool)
    masks[0, 10:20, 25:30] = True
    for seed in range(20):
        points = first_click(masks, np.random.default_rng(seed))
        x, y = points.xy[0, 0].int().tolist()
        assert masks[0, y, x]
        assert points.labels.tolist() == [[1], [-1]]


def test_corrective_click_hits_what_is_missing_or_too_much() -> None:
    true = np.zeros((2, 10, 10), bool)
    true[:, 2:6, 2:6] = True
    predicted = true.copy()
    predicted[0, 2:6, 4:6] = False  # misses the right half
    predicted[1, 7:9, 7:9] = True  # adds a corner
    points = corrective_click(predicted, true, 4, np.random.default_rng(0))
    assert points.labels.tolist() == [[1], [0]]
    for index in range(2):
        x, y = (int((value + 0.5) / 4) for value in points.xy[index, 0].tolist())
        assert predicted[index, y, x] != true[index, y, x]


def test_loose_box_is_near_the_bounding_box() -> None:
    mask = np.zeros((1, 100, 100), bool)
    mask[0, 20:61, 30:71] = True
    points = loose_box(mask, np.random.default_rng(1))
    assert points.labels.tolist() == [[2, 3]]
    assert np.abs(points.xy[0].numpy() - [[30, 20], [70, 60]]).max() <= 4.1


def test_points_append_in_order() -> None:
    mask = np.ones((1, 8, 8), bool)
    rng = np.random.default_rng(0)
    first, second = first_click(mask, rng), loose_box(mask, rng)
    assert first.and_then(second).labels.tolist() == [[1, 2, 3]]


def test_stages_follow_progress() -> None:
    assert [stage_at(p).size for p in (0.0, 0.5, 0.99, 1.0)] == [128, 256, 384, 384]
    assert all(stage.size % 32 == 0 and sum(stage.chances) == pytest.approx(1) for stage in STAGES)


def test_learning_rate_warms_up_and_falls() -> None:
    assert learning_rate(0, 0.0) == pytest.approx(PEAK_RATE / WARM_UP_STEPS)
    assert learning_rate(1000, 0.0) == pytest.approx(PEAK_RATE)
    assert learning_rate(1000, 0.5) == pytest.approx(PEAK_RATE * (0.01 + 0.99 / 2))
    assert learning_rate(1000, 1.0) == pytest.approx(PEAK_RATE * 0.01)


def test_average_decay_grows_to_its_limit() -> None:
    assert average_decay(0) == pytest.approx(0.1)
    assert average_decay(10**6) == 0.998


def test_teaching_ends_before_half_time() -> None:
    assert [teaching(p) for p in (0.0, 0.1, 0.4, 1.0)] == pytest.approx([1.0, 0.75, 0.0, 0.0])


def test_plans_depend_on_seed_and_step_alone() -> None:
    assert plan_step(3, 7, 0.1) == plan_step(3, 7, 0.1)
    assert len({plan_step(3, step, 0.1).times for step in range(40)}) > 10


def test_times_train_every_temporal_row() -> None:
    rng = np.random.default_rng(0)
    rows = set()
    for _ in range(100):
        times = draw_times(rng, 4)
        assert times[0] == 0 and list(times) == sorted(set(times))
        rows |= {times[-1] - time - 1 for time in times[1:-1]}
    assert set(range(6)) <= rows
