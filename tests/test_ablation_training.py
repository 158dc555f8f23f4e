"""Variants that train under one small budget before they are compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="ablations need PyTorch: pip install 'etam-onnx[train]'")
pytest.importorskip("cv2", reason="training clips need OpenCV: pip install 'etam-onnx[train]'")

from test_training_clips import write_data_set  # noqa: E402

from etam_onnx.ablation.scoring import Exam, held_out_exams  # noqa: E402
from etam_onnx.ablation.study import Study, Training  # noqa: E402
from etam_onnx.ablation.variants import variants_of  # noqa: E402
from etam_onnx.config import CONFIGS  # noqa: E402
from etam_onnx.model.checkpoint import read_state  # noqa: E402

# The default model at 64 pixels: a 4x4 grid, on which training steps take well under a second.
BASE = replace(CONFIGS["etam-nano"], image_size=64)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data_set(tmp_path_factory.mktemp("discs") / "set")


@pytest.fixture(scope="module")
def exams(data: Path) -> list[Exam]:
    return held_out_exams(data, 1, 64, 4)


def test_variants_train_alike_and_a_finished_one_is_not_trained_again(
    data: Path, exams: list[Exam], tmp_path: Path
) -> None:
    lines: list[str] = []
    study = Study(None, exams, Training(data, 2, seed=5), tmp_path, 0, lines.append)
    variants = variants_of(BASE, names=["base", "no-pointers"])
    found = {variant.key: study.run(variant) for variant in variants}
    files = {variant.key: tmp_path / variant.key / "etam-nano.pt" for variant in variants}
    states = {key: read_state(path) for key, path in files.items()}
    assert list(states["base"]) == list(states["no-pointers"])
    # The networks before memory attention started alike; the others saw other gradients since.
    assert any(not torch.equal(states["base"][name], states["no-pointers"][name]) for name in states["base"])
    assert any(line.startswith("no-pointers: ") for line in lines)
    (tmp_path / "base.json").unlink()
    written = files["base"].read_bytes()
    assert study.run(variants[0]) == found["base"]
    assert files["base"].read_bytes() == written
    with pytest.raises(ValueError, match=r"base\.json was made with other settings \(training\)"):
        Study(None, exams, Training(data, 3, seed=5), tmp_path, 0).run(variants[0])


def test_training_without_a_folder_is_refused(data: Path) -> None:
    (variant,) = variants_of(BASE, names=["base"])
    with pytest.raises(ValueError, match="a study that trains needs a folder"):
        Study(None, [], Training(data, 1)).run(variant)


def test_held_out_clips_are_the_same_every_time(data: Path, exams: list[Exam]) -> None:
    assert [(exam.name, exam.frames) for exam in exams] == [("held-out-0", 4)]
    again = held_out_exams(data, 1, 64, 4)
    frames = [exam.track.args[0] for exam in (*exams, *again)]  # type: ignore[attr-defined]
    assert (frames[0] == frames[1]).all()
