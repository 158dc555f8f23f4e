"""What masks and presence cost, against values worked out by hand."""

import math

import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch: pip install 'etam-onnx[train]'")

from etam_onnx.training.losses import dice_loss, focal_loss, mask_loss, overlap_of, presence_loss  # noqa: E402

ODDS_OF_THREE = math.log(3)  # probability 0.75


def test_focal_loss_by_hand() -> None:
    logits = torch.full((1, 1, 2, 2), ODDS_OF_THREE)
    target = torch.tensor([1.0, 1.0, 0.0, 0.0]).view(1, 1, 2, 2)
    right, wrong = -math.log(0.75) * 0.25**2, -math.log(0.25) * 0.75**2
    assert focal_loss(logits, target, 0.5).item() == pytest.approx(0.5 * (right + wrong) / 2, rel=1e-6)
    assert focal_loss(logits, target, 0.25).item() == pytest.approx((0.25 * right + 0.75 * wrong) / 2, rel=1e-6)


def test_dice_loss_by_hand() -> None:
    logits = torch.full((1, 1, 2, 2), ODDS_OF_THREE)
    target = torch.tensor([1.0, 1.0, 0.0, 0.0]).view(1, 1, 2, 2)
    assert dice_loss(logits, target).item() == pytest.approx(1 - (2 * 1.5 + 1) / (3 + 2 + 1), rel=1e-6)


def test_a_confident_right_mask_costs_nothing_and_a_wrong_one_much() -> None:
    target = torch.zeros(1, 1, 4, 4)
    target[..., :2] = 1
    logits = torch.cat([40 * target - 20, 20 - 40 * target], 1)
    cost = mask_loss(logits, target, alpha=0.5)
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
