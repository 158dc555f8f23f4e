"""Feature distillation: what a teacher file must be, what the loss is, and that a run learns from it."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch: pip install 'etam-onnx[train]'")
onnx = pytest.importorskip("onnx", reason="a teacher is an ONNX file: pip install 'etam-onnx[dev]'")
pytest.importorskip("cv2", reason="training clips need OpenCV: pip install 'etam-onnx[train]'")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from etam_onnx.training.options import TrainingOptions  # noqa: E402
from etam_onnx.training.schedule import StepPlan  # noqa: E402
from etam_onnx.training.sources import open_sources  # noqa: E402
from etam_onnx.training.teacher import Distillation, Teacher  # noqa: E402
from etam_onnx.training.trainer import Trainer  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")
CHANNELS = 5


def write_teacher(path: Path, side: int | str = "s") -> Path:
    """Means over 16 x 16 pixels of three colours, mixed into five channels by known weights; channel 0 is red / 255."""
    mix = np.random.default_rng(0).normal(size=(CHANNELS, 3, 1, 1)).astype(np.float32)
    mix[0] = np.array([1, 0, 0], np.float32)[:, None, None]
    nodes = [
        helper.make_node("AveragePool", ["pictures"], ["pooled"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("Conv", ["pooled", "mix"], ["features"]),
    ]
    graph = helper.make_graph(
        nodes,
        "teacher",
        [helper.make_tensor_value_info("pictures", TensorProto.FLOAT, ["n", 3, side, side])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", CHANNELS, "h", "w"])],
        [numpy_helper.from_array(mix / 255, "mix")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def write_copier(path: Path, shape: list[str]) -> Path:
    seen, said = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("pictures", "features"))
    graph = helper.make_graph([helper.make_node("Identity", ["pictures"], ["features"])], "copier", [seen], [said])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_teacher(tmp_path_factory.mktemp("teacher") / "teacher.onnx")


def test_a_teacher_sees_rgb_pixels(teacher_file: Path) -> None:
    frames = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    frames[1, 16:, :16, 0] = 255
    teacher = Teacher(teacher_file, 1)
    found = teacher.features(frames)
    assert found.shape == (2, CHANNELS, 2, 2) and teacher.channels == CHANNELS
    assert found[:, 0].tolist() == [[[0, 0], [0, 0]], [[0, 0], [pytest.approx(1, abs=1e-6), 0]]]


def test_what_is_no_teacher_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="There is no teacher at"):
        Teacher(tmp_path / "none.onnx", 1)
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(ValueError, match="cannot be loaded by ONNX Runtime"):
        Teacher(tmp_path / "text.onnx", 1)
    with pytest.raises(ValueError, match="does not say how many channels"):
        Teacher(write_copier(tmp_path / "any.onnx", ["n", "c", "h", "w"]), 1)
    with pytest.raises(ValueError, match=r"must turn pictures \(N, 3, S, S\) into features"):
        Teacher(write_copier(tmp_path / "flat.onnx", ["n", "c"]), 1)
    with pytest.raises(ValueError, match="does not take 1 frames of 48 pixels"):
        Teacher(write_teacher(tmp_path / "fixed.onnx", 32), 1).features(torch.zeros(1, 48, 48, 3, dtype=torch.uint8))


def test_the_cost_is_the_squared_error_of_every_patch() -> None:
    distillation = Distillation(8, CHANNELS)
    with torch.no_grad():
        distillation.out.weight.zero_()
        distillation.out.bias.copy_(torch.arange(float(CHANNELS)))
    target = torch.arange(float(CHANNELS))[None, :, None, None].expand(2, -1, 4, 4).clone()
    features = torch.randn(2, 8, 4, 4)
    assert distillation.sum(features, target).item() == 0
    target[1, 2, 3, 1] += 3
    assert distillation.sum(features, target).item() == pytest.approx(9 / CHANNELS)
    coarse = torch.arange(float(CHANNELS))[None, :, None, None].expand(2, -1, 2, 2)
    assert distillation.sum(features, coarse).item() == pytest.approx(0, abs=1e-9)


def test_a_run_learns_what_its_teacher_says(data: Path, tmp_path: Path, teacher_file: Path) -> None:
    def trained(at_once: int | None) -> list[dict[str, float]]:
        options = TrainingOptions(data, tmp_path, size=64, steps=9, half=False, teacher=teacher_file, at_once=at_once)
        trainer = Trainer(options)
        source = open_sources([(data, 1.0)], "none")
        plan = StepPlan(seed=3, step=100, size=64, clips=2, times=(0, 2), objects=1)
        clips = [(n, source.make(plan.clip_seed(n), 64, plan.times, 1)) for n in range(2)]
        return [trainer.step(plan, clips, 0.3) for _ in range(20)]

    together, apart = trained(None), trained(1)
    assert together[0]["teacher"] == pytest.approx(apart[0]["teacher"], rel=1e-6)
    assert together[-1]["teacher"] < 0.3 * together[0]["teacher"]


def test_the_head_is_resumed(data: Path, tmp_path: Path, teacher_file: Path) -> None:
    options = TrainingOptions(data, tmp_path, size=64, steps=9, teacher=teacher_file)
    first, second = Trainer(options), Trainer(options)
    assert first.distillation is not None and second.distillation is not None
    with torch.no_grad():
        second.distillation.out.bias.add_(1)
    second.restore(first.state(0.0))
    assert torch.equal(second.distillation.out.bias, first.distillation.out.bias)
