"""Whole training runs, tiny: they survive a kill, share their work, stop at bad numbers, leave no half files."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="training needs PyTorch: pip install 'etam-onnx[train]'")
pytest.importorskip("cv2", reason="training clips need OpenCV: pip install 'etam-onnx[train]'")


from etam_onnx.cli.main import main  # noqa: E402
from etam_onnx.model import build_model  # noqa: E402
from etam_onnx.training.checkpoints import load_state, rounded_to_half, save_atomically  # noqa: E402
from etam_onnx.training.feed import Feed, draw_clip  # noqa: E402
from etam_onnx.training.loop import run_training  # noqa: E402
from etam_onnx.training.options import TrainingOptions  # noqa: E402
from etam_onnx.training.schedule import StepPlan, plan_step  # noqa: E402
from etam_onnx.training.sources import open_sources  # noqa: E402
from etam_onnx.training.trainer import Trainer  # noqa: E402

STEPS = 3
# The same run in words of the command line and as options.
WORDS = {
    "size": 64,
    "batch": 3,
    "frames": 3,
    "objects": 2,
    "seed": 3,
    "threads": 1,
    "log-every": 1,
    "validation-clips": 2,
}
SAME = {
    "size": 64,
    "batch": 3,
    "frames": 3,
    "objects": 2,
    "seed": 3,
    "half": False,
    "report_every": 1,
    "validation_clips": 2,
}


pytestmark = pytest.mark.usefixtures("one_thread")


def options(data: Path, output: Path, **changes: object) -> TrainingOptions:
    settings: dict = {"steps": STEPS, "workers": 0, **SAME, **changes}
    return TrainingOptions(data=data, output=output, **settings)


def silent(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of an uninterrupted run in one process."""
    output = tmp_path_factory.mktemp("run")
    run_training(options(data, output), report=silent)
    return output


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def command(data: Path, output: Path, *more: str) -> list[str]:
    words = [f"--{name}={value}" for name, value in WORDS.items()]
    words += ["--data", str(data), "--output", str(output), f"--steps={STEPS}", "--full-precision", *more]
    return ["-m", "etam_onnx.training", *words]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def assert_same_state(first: Path, second: Path) -> None:
    one, other = (load_state(folder, "etam-nano", 3) for folder in (first, second))
    assert one.step == other.step == STEPS
    for part in ("model", "matching", "average"):
        for name, tensor in getattr(one, part).items():
            assert torch.equal(tensor, getattr(other, part)[name]), (part, name)
    for index, moments in one.optimizer["state"].items():
        for name, tensor in moments.items():
            assert torch.equal(tensor, other.optimizer["state"][index][name]), (index, name)


def test_a_killed_run_resumes_to_the_same_weights(data: Path, tmp_path: Path, alone: Path) -> None:
    words = command(data, tmp_path, "--save-every", "0", "--no-tensorboard")
    process = subprocess.Popen([sys.executable, *words], env=environment(), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 180
    while not (tmp_path / "state.pt").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    reached = load_state(tmp_path, "etam-nano", 3).step
    assert 1 <= reached < STEPS, f"the run was to be killed between its first and last step, not at {reached}"
    run_training(options(data, tmp_path, resume=True, tensorboard=False), report=silent)
    assert_same_state(alone, tmp_path)
    assert [row["step"] for row in rows_of(tmp_path / "steps.csv")] == [str(step + 1) for step in range(STEPS)]


def test_two_processes_train_like_one(data: Path, tmp_path: Path, alone: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = command(data, tmp_path, "--no-tensorboard", "--workers", "0")
    result = subprocess.run([*torchrun, *words], env=environment(), capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr
    one, two = rows_of(alone / "steps.csv"), rows_of(tmp_path / "steps.csv")
    assert len(one) == len(two) == STEPS
    for name in ("loss", "mask", "iou", "presence", "matching", "overlap", "norm"):
        expected = [float(row[name]) for row in one]
        assert [float(row[name]) for row in two] == pytest.approx(expected, rel=2e-6, abs=2e-6, nan_ok=True), name
    first, second = (load_state(folder, "etam-nano", 3).model for folder in (alone, tmp_path))
    start = Trainer(options(data, tmp_path)).model.state_dict()
    moved = sum(float((tensor - start[name]).abs().sum()) for name, tensor in first.items())
    apart = sum(float((tensor - second[name]).abs().sum()) for name, tensor in first.items())
    assert moved > 0 and apart < 6e-6 * moved
    scores = [rows_of(folder / "validation.csv")[-1] for folder in (alone, tmp_path)]
    assert float(scores[0]["click"]) == pytest.approx(float(scores[1]["click"]), abs=1e-4)


def test_a_run_leaves_weights_logs_and_no_drafts(alone: Path) -> None:
    pytest.importorskip("tensorboard", reason="the log for TensorBoard needs the tensorboard package")
    assert sorted(os.listdir(alone)) == ["etam-nano.pt", "state.pt", "steps.csv", "tensorboard", "validation.csv"]
    weights = torch.load(alone / "etam-nano.pt", weights_only=True)["model"]
    model = build_model("etam-nano")
    model.load_state_dict(weights)
    assert all(torch.equal(t, t.half().float()) for t in weights.values() if t.is_floating_point())
    average = load_state(alone, "etam-nano", 3).average
    assert all(torch.equal(weights[name], value) for name, value in rounded_to_half(average).items())
    rows = rows_of(alone / "validation.csv")
    assert len(rows) == 1 and int(rows[0]["step"]) == STEPS
    assert all(0 <= float(rows[0][key]) <= 1 for key in ("tracking", "click", "presence"))
    assert [int(row["step"]) for row in rows_of(alone / "steps.csv")] == [1, 2, 3]
    assert len(list((alone / "tensorboard").glob("events.out.tfevents.*"))) == 1


def test_the_board_holds_every_step(alone: Path) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="the log for TensorBoard needs the tensorboard package",
    )
    events = accumulator.EventAccumulator(str(alone / "tensorboard")).Reload()
    found = [(event.step, event.value) for event in events.Scalars("step/loss")]
    assert found == [
        (i, pytest.approx(float(r["loss"]), abs=1e-6)) for i, r in enumerate(rows_of(alone / "steps.csv"), 1)
    ]
    assert [event.step for event in events.Scalars("validation/click")] == [STEPS]


def test_every_recipe_trains_from_the_command_line(data: Path, tmp_path: Path, capsys) -> None:
    words = [
        "--size",
        "64",
        "--batch",
        "2",
        "--steps",
        "1",
        "--threads",
        "1",
        "--workers",
        "0",
        "--validation-clips",
        "0",
    ]
    for recipe, more in (("images", []), ("video", ["--frames", "3"])):
        output = tmp_path / recipe
        start = ["train", "--data", str(data), f"--data={data}=0.5", "--output", str(output), "--recipe", recipe]
        code = main([*start, *words, *more, "--no-tensorboard"])
        assert code == 0, capsys.readouterr().err
        assert sorted(os.listdir(output)) == ["etam-nano.pt", "state.pt", "steps.csv"]
    tuned = ["train", "--data", str(data), "--output", str(tmp_path / "tuned"), *words, "--no-tensorboard"]
    assert main([*tuned, "--weights", str(tmp_path / "video" / "etam-nano.pt")]) == 0
    capsys.readouterr()
    resumed = ["train", "--data", str(data), "--output", str(tmp_path / "video"), *words, "--resume"]
    assert main(resumed) == 1
    assert "is of the recipe video, not of nano" in capsys.readouterr().err


def write_sequences(root: Path) -> Path:
    """Two videos as DAVIS lays them out, one moving disc each; the files of the second are cut off."""
    rows, columns = np.mgrid[:90, :120]
    for name in ("whole", "broken"):
        for part in ("JPEGImages", "Annotations"):
            (root / part / "480p" / name).mkdir(parents=True)
        for index in range(4):
            disc = (columns - 40 - 6 * index) ** 2 + (rows - 45) ** 2 <= 25**2
            frame, path = np.where(disc[..., None], (250, 120, 20), (20, 60, 90)), root / "JPEGImages" / "480p" / name
            Image.fromarray(frame.astype(np.uint8)).save(path / f"{index:05d}.jpg")
            mask = Image.fromarray(disc.astype(np.uint8))
            mask.putpalette([0, 0, 0, 200, 0, 0])
            mask.save(root / "Annotations" / "480p" / name / f"{index:05d}.png")
            if name == "broken":
                (path / f"{index:05d}.jpg").write_bytes((path / f"{index:05d}.jpg").read_bytes()[:200])
    return root


@pytest.mark.filterwarnings("ignore::UserWarning")  # about the broken video
def test_training_on_video_skips_and_counts_what_is_broken(tmp_path: Path) -> None:
    lines: list[str] = []
    folder, output = write_sequences(tmp_path / "davis"), tmp_path / "run"
    settings = options(folder, output, recipe="video", steps=1, batch=4, frames=2, objects=1, tensorboard=False)
    run_training(settings, report=lines.append)
    rows = rows_of(output / "steps.csv")
    assert len(rows) == 1 and 0 < float(rows[0]["loss"]) < 1000 and "matching" not in rows[0]
    (told,) = [line for line in lines if line.startswith("Skipped")]
    assert int(told.split()[1]) >= 1
    assert not (output / "validation.csv").exists() and "0 held-out clips" in lines[0]


def test_what_cannot_be_trained_is_said_in_a_sentence(data: Path, tmp_path: Path, capsys) -> None:
    start = ["train", "--data", str(data), "--output", str(tmp_path / "run")]
    for words, message in (
        ([*start, "--recipe", "soup"], "no recipe 'soup'"),
        ([*start, "--preset", "etam-mega"], "no preset 'etam-mega'"),
        ([*start, "--steps", "0"], "must be positive"),
        ([*start, "--size", "100"], "must be a multiple of 32"),
        ([*start, "--weights", str(tmp_path / "none.pt")], "no checkpoint at"),
        ([*start, "--resume", "--steps", "1"], "no training state to resume"),
        (["train", "--data", str(tmp_path / "none"), "--output", str(tmp_path / "run"), "--steps", "1"], "no folder"),
    ):
        assert main(words) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_failed_save_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    save_atomically({"step": 1}, path)
    with pytest.raises((AttributeError, TypeError, RuntimeError)):
        save_atomically({"step": 2, "unsaveable": lambda: None}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}


def test_resuming_nothing_another_run_or_a_damaged_file(tmp_path: Path, alone: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no training state to resume"):
        load_state(tmp_path, "etam-nano", 3)
    with pytest.raises(ValueError, match="is of etam-nano with seed 3, not of etam-nano with seed 4"):
        load_state(alone, "etam-nano", 4)
    with pytest.raises(ValueError, match="is of the recipe nano, not of video"):
        load_state(alone, "etam-nano", 3, "video")
    with pytest.raises(ValueError, match="is of a run with batch 3, not 5"):
        load_state(alone, "etam-nano", 3, "nano", {"batch": "5"})
    (tmp_path / "state.pt").write_bytes((alone / "state.pt").read_bytes()[:5000])
    with pytest.raises(ValueError, match="cannot be read"):
        load_state(tmp_path, "etam-nano", 3)


def test_the_budget_is_given_once_or_comes_from_the_recipe(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one budget: either minutes or steps"):
        TrainingOptions(data, tmp_path, minutes=1, steps=1)
    assert TrainingOptions(data, tmp_path).budget == (90.0, None)
    assert TrainingOptions(data, tmp_path, recipe="images").budget == (None, 90_000)
    assert TrainingOptions(data, tmp_path, recipe="images", minutes=3).budget == (3, None)


PLAN = StepPlan(seed=3, step=0, size=64, clips=2, times=(0, 2, 3), objects=1)


def test_a_loss_that_is_not_finite_stops_the_run_before_the_update(data: Path, tmp_path: Path) -> None:
    trainer = Trainer(options(data, tmp_path))
    source = open_sources([(data, 1.0)], "none")
    with torch.no_grad():
        trainer.model.sam_mask_decoder.iou_token.weight.fill_(float("nan"))
    kept = {name: value.clone() for name, value in trainer.model.named_parameters()}
    with pytest.raises(FloatingPointError, match="The loss of step 0 is not finite"):
        trainer.step(PLAN, [(n, draw_clip(source, PLAN, n)) for n in range(2)], 0.0)
    for name, value in trainer.model.named_parameters():
        assert torch.equal(value.nan_to_num(), kept[name].nan_to_num()), name


def test_a_diverging_run_ends_with_a_sentence_and_its_last_checkpoint(data: Path, tmp_path: Path, capsys) -> None:
    words = command(data, tmp_path, "--workers", "0", "--no-tensorboard", "--save-every", "0")[2:]
    assert main(["train", *words, "--learning-rate", "1e30"]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: The ") and error.endswith(
        "is not finite; the run stops, its last checkpoint stays."
    )
    state = load_state(tmp_path, "etam-nano", 3)
    assert 1 <= state.step < STEPS
    assert sorted(os.listdir(tmp_path)) == ["etam-nano.pt", "state.pt", "steps.csv"]


def test_training_on_one_batch_lowers_its_loss(data: Path, tmp_path: Path) -> None:
    trainer = Trainer(options(data, tmp_path))
    source = open_sources([(data, 1.0)], "none")
    plan = StepPlan(seed=3, step=100, size=64, clips=1, times=(0, 2), objects=1)  # at the full learning rate
    clips = [(0, draw_clip(source, plan, 0))]
    losses = [trainer.step(plan, clips, 0.0)["mask"] for _ in range(20)]
    assert losses[-1] < 0.5 * losses[0]


def test_clips_do_not_depend_on_who_draws_them(data: Path, tmp_path: Path) -> None:
    recipe = options(data, tmp_path).adjusted_recipe()

    def drawn(workers: int, rank: int, replicas: int) -> dict[tuple[int, int], np.ndarray]:
        plan = lambda step: plan_step(3, step, 0.0, recipe, 64)  # noqa: E731
        feed = Feed([(data, 1.0)], "strong", 0, plan, workers, rank, replicas)
        try:
            steps = [next(batches) for batches in [iter(feed)] for _ in range(2)]
        finally:
            feed.close()
        return {(plan.step, number): clip.frames for plan, clips in steps for number, clip in clips}

    together, apart = drawn(0, 0, 1), {**drawn(2, 0, 2), **drawn(0, 1, 2)}
    assert sorted(together) == sorted(apart) == [(step, clip) for step in range(2) for clip in range(3)]
    assert all(np.array_equal(together[key], apart[key]) for key in together)
