"""Whole training runs, tiny: they repeat, survive a kill, stop at bad numbers, leave no half files."""

import csv
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch: pip install 'etam-onnx[train]'")
pytest.importorskip("cv2", reason="training clips need OpenCV: pip install 'etam-onnx[train]'")

from test_training_clips import write_data_set  # noqa: E402

from etam_onnx.model import build_model  # noqa: E402
from etam_onnx.training.checkpoints import load_state, rounded_to_half, save_atomically  # noqa: E402
from etam_onnx.training.clips import ClipMaker  # noqa: E402
from etam_onnx.training.feed import draw_clips  # noqa: E402
from etam_onnx.training.images import load_images  # noqa: E402
from etam_onnx.training.loop import Trainer, TrainingOptions, run_training  # noqa: E402
from etam_onnx.training.replicas import Replicas  # noqa: E402
from etam_onnx.training.schedule import WARM_UP_STEPS, Stage, plan_step  # noqa: E402
from etam_onnx.training.start import start_quietly  # noqa: E402
from etam_onnx.training.unroll import Batch, ClipLoss  # noqa: E402
from etam_onnx.training.validation import track, validate  # noqa: E402

TINY = (Stage(1.0, 64, 6, (3, 4), (0.5, 0.5)),)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data_set(tmp_path_factory.mktemp("discs") / "set")


def options(data: Path, output: Path, **changes: object) -> TrainingOptions:
    settings: dict = dict(steps=4, seed=3, stages=TINY, save_every=0.0, validation_clips=2, validation_frames=2)
    settings.update(changes)
    return TrainingOptions(data=data, output=output, **settings)


@pytest.fixture(scope="module")
def uninterrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("run")
    run_training(options(data, output), report=lambda line: None)
    return output


def silent(line: str) -> None:
    pass


def train_in_another_process(settings: TrainingOptions) -> None:
    torch.set_num_threads(1)
    run_training(settings, report=silent)


def test_a_killed_run_resumes_to_the_same_weights(data: Path, tmp_path: Path, uninterrupted: Path) -> None:
    settings = options(data, tmp_path)
    process = multiprocessing.get_context("spawn").Process(target=train_in_another_process, args=(settings,))
    process.start()
    deadline = time.monotonic() + 180
    while not (tmp_path / "state.pt").exists() and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.join()
    reached = load_state(tmp_path, "etam-nano", 3).step
    assert 1 <= reached < 4, f"the run was to be killed between its first and last step, not at {reached}"
    run_training(options(data, tmp_path, resume=True), report=silent)
    first, second = load_state(uninterrupted, "etam-nano", 3), load_state(tmp_path, "etam-nano", 3)
    assert first.step == second.step == 4
    for name, tensor in first.average.items():
        assert torch.equal(tensor, second.average[name]), name
    for name, tensor in first.model.items():
        assert torch.equal(tensor, second.model[name]), name


def test_a_run_leaves_weights_logs_and_no_drafts(uninterrupted: Path) -> None:
    assert sorted(os.listdir(uninterrupted)) == ["etam-nano.pt", "state.pt", "validation.csv"]
    weights = torch.load(uninterrupted / "etam-nano.pt", weights_only=True)["model"]
    model = build_model("etam-nano")
    model.load_state_dict(weights)
    assert all(torch.equal(t, t.half().float()) for t in weights.values() if t.is_floating_point())
    average = load_state(uninterrupted, "etam-nano", 3).average
    assert all(torch.equal(weights[name], value) for name, value in rounded_to_half(average).items())
    with (uninterrupted / "validation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1 and int(rows[0]["step"]) == 4
    assert all(0 <= float(rows[0][key]) <= 1 for key in ("tracking", "click", "presence"))


def test_a_failed_save_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    save_atomically({"step": 1}, path)
    with pytest.raises((AttributeError, TypeError, RuntimeError)):
        save_atomically({"step": 2, "unsaveable": lambda: None}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}


def test_resuming_nothing_another_run_or_a_damaged_file(data: Path, tmp_path: Path, uninterrupted: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no training state to resume"):
        load_state(tmp_path, "etam-nano", 3)
    with pytest.raises(ValueError, match="is of etam-nano with seed 3, not of etam-nano with seed 4"):
        load_state(uninterrupted, "etam-nano", 4)
    (tmp_path / "state.pt").write_bytes((uninterrupted / "state.pt").read_bytes()[:5000])
    with pytest.raises(ValueError, match="cannot be read"):
        load_state(tmp_path, "etam-nano", 3)


def test_a_budget_is_needed(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="either minutes or steps"):
        TrainingOptions(data=data, output=tmp_path)
    with pytest.raises(ValueError, match="must be positive"):
        TrainingOptions(data=data, output=tmp_path, minutes=-1)
    with pytest.raises(ValueError, match="no preset 'etam-mega'"):
        TrainingOptions(data=data, output=tmp_path, steps=1, preset="etam-mega")


def test_a_loss_that_is_not_finite_stops_the_run_before_the_update(data: Path, tmp_path: Path) -> None:
    trainer = Trainer(options(data, tmp_path, half=False))
    plan = plan_step(3, 0, 0.0, TINY)
    frames, masks = draw_clips(ClipMaker(load_images(data, "train")), plan)
    with torch.no_grad():
        trainer.model.sam_mask_decoder.iou_token.weight.fill_(float("nan"))
    kept = {name: value.clone() for name, value in trainer.model.named_parameters()}
    with pytest.raises(FloatingPointError, match="The loss of step 0 is not finite"):
        trainer.step(plan, frames, masks, 0.0)
    for name, value in trainer.model.named_parameters():
        assert torch.equal(value.nan_to_num(), kept[name].nan_to_num()), name


def test_training_on_one_batch_lowers_its_loss(data: Path, tmp_path: Path) -> None:
    trainer = Trainer(options(data, tmp_path, half=False))
    plan = plan_step(3, WARM_UP_STEPS, 0.0, TINY)  # the first step at the full learning rate
    frames, masks = draw_clips(ClipMaker(load_images(data, "train")), plan)
    losses = [trainer.step(plan, frames, masks, 0.0)["mask"] for _ in range(24)]
    assert losses[-1] < 0.5 * losses[0]


def average_in_process(rank: int, folder: Path) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT="29577")
    replicas = Replicas()
    seen, missing = torch.nn.Parameter(torch.zeros(2, 3)), torch.nn.Parameter(torch.zeros(2))
    seen.grad = torch.full((2, 3), 1.0 + 2 * rank)
    if rank == 1:
        missing.grad = torch.tensor([4.0, 6.0])
    replicas.average_gradients([seen, missing])
    torch.save([seen.grad, missing.grad, torch.tensor(replicas.mean([rank, 5.0]))], folder / f"{rank}.pt")
    replicas.close()


def test_two_processes_agree_on_the_mean_gradient(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=average_in_process, args=(rank, tmp_path)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(180)
        assert process.exitcode == 0
    for rank in range(2):
        seen, missing, means = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert seen.tolist() == [[2.0] * 3] * 2 and missing.tolist() == [2.0, 3.0]
        assert means.tolist() == [0.5, 5.0]


def test_processes_divide_the_clips_and_share_the_times() -> None:
    first, second = (plan_step(0, 4, 0.0, rank=rank, replicas=2) for rank in range(2))
    alone = plan_step(0, 4, 0.0)
    assert first.times == second.times == alone.times and first.size == alone.size
    assert first.clips == second.clips == pytest.approx(alone.clips / 2, abs=1)
    assert first.random().integers(2**32) != second.random().integers(2**32)


@pytest.fixture(scope="module")
def batch(data: Path) -> Batch:
    maker = ClipMaker(load_images(data, "train"))
    clips = [maker.make([seed], 64, (0, 1, 9, 10)) for seed in range(2)]
    frames, masks = (np.stack([getattr(c, key) for c in clips]) for key in ("frames", "masks"))
    return Batch(torch.from_numpy(frames), torch.from_numpy(masks), (0, 1, 9, 10))


@pytest.mark.parametrize(("kind", "corrected"), [("mask", None), ("click", None), ("box", None), ("mask", 2)])
def test_every_kind_of_prompt_trains_and_every_part_gets_a_gradient(batch, kind: str, corrected: int | None) -> None:
    torch.manual_seed(0)
    model = build_model("etam-nano")
    ClipLoss(model, batch, np.random.default_rng(0)).run(kind, corrected).total().backward()
    for name in ("image_encoder", "memory_attention", "memory_encoder", "sam_mask_decoder", "obj_ptr_proj"):
        gradients = [p.grad for p in getattr(model, name).parameters() if p.grad is not None]
        assert gradients and sum(float(g.abs().sum()) for g in gradients) > 0, name
    rows = model.maskmem_tpos_enc.grad.abs().flatten(1).sum(1) > 0
    # The frame at time 9 sees the prompted one only: 1 is too far back. The one at 10 also sees 9, in
    # row 0 or, if it was corrected, as a prompted one.
    assert rows.tolist() == [corrected is None, False, False, False, False, False, True]


def test_a_quiet_start_answers_with_the_priors(batch: Batch) -> None:
    torch.manual_seed(0)
    model = build_model("etam-nano").eval()
    start_quietly(model)
    images = batch.frames[:, 0].permute(0, 3, 1, 2).float()
    with torch.no_grad():
        out = model.decode(model.without_memory(model.encode_image(images)))
    assert out.mask_logits.mean().item() == pytest.approx(-1.5, abs=0.25)
    assert out.mask_logits.std().item() < 0.25
    assert out.presence.mean().item() == pytest.approx(2, abs=0.1)
    assert out.iou.mean().item() == pytest.approx(0.5, abs=0.05)


def test_teaching_writes_memory_from_the_true_mask(batch: Batch) -> None:
    torch.manual_seed(0)
    model = build_model("etam-nano")
    written = []
    encode = model.encode_memory
    model.encode_memory = lambda features, logits, prompted: (
        written.append(logits) or encode(features, logits, prompted)
    )
    taught = ClipLoss(model, batch, np.random.default_rng(0), teaching=1.0).run("click")
    for index, logits in enumerate(written):
        assert torch.equal(logits, 20 * taught.targets[:, index] - 10)
    written.clear()
    ClipLoss(model, batch, np.random.default_rng(0), teaching=0.0).run("click")
    assert not torch.equal(written[1], 20 * taught.targets[:, 1] - 10)


def test_tracking_gives_logits_for_every_later_frame(batch: Batch) -> None:
    model = build_model("etam-nano").eval()
    frames = batch.frames.permute(0, 1, 4, 2, 3).float()
    with torch.no_grad():
        logits, presence = track(model, frames, batch.masks[:, :1].float())
    assert logits.shape == (2, 3, 16, 16) and presence.shape == (2, 3)
    absent = presence <= 0
    assert (logits[absent] == -32).all() and (logits[~absent] != -32).any(-1).any(-1).all()


def test_validation_repeats(data: Path) -> None:
    torch.manual_seed(0)
    model = build_model("etam-nano")
    maker = ClipMaker(load_images(data, "val"))
    clips = [maker.make([seed], 64, (0, 2)) for seed in range(3)]
    first, again = validate(model, clips, batch=2, half=False), validate(model, clips, batch=2, half=False)
    assert first == again and model.training
