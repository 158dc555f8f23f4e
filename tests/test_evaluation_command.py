"""The `evaluate` subcommand: scores, reports, and errors of one sentence."""

from __future__ import annotations

import argparse
import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_bundle import little_files, write_bundle
from written_videos import save, scene, write_flat, write_meta, write_sa_v, write_video

from etam_onnx.cli.evaluate import register
from etam_onnx.cli.evaluate_options import FORMATS
from etam_onnx.cli.evaluate_vos import PROMPTS as VOS_PROMPTS
from etam_onnx.cli.main import main
from etam_onnx.evaluation.conventions import CONVENTIONS
from etam_onnx.evaluation.prompts import PROMPTS
from etam_onnx.evaluation.region import region_similarity
from etam_onnx.runtime.label_maps import read_label_map

BUNDLE = "etam-nano"


def evaluate(*words: str) -> int:
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())
    arguments = parser.parse_args(["evaluate", *words])
    return int(arguments.run(arguments))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A bundle of tiny graphs that answer every prompt with the same half plane."""
    return str(write_bundle(tmp_path_factory.mktemp("bundle"), little_files()))


@pytest.fixture
def shifted(eval_video_dir: Path, tmp_path: Path) -> Path:
    """Predictions for two sequences: every mask moved by three rows and five columns."""
    for name in ("car-shadow", "chair"):
        for path in sorted((eval_video_dir / name / "masks").glob("*.png")):
            (tmp_path / name).mkdir(exist_ok=True)
            moved = np.roll(read_label_map(path), (3, -5), (0, 1))
            Image.fromarray(moved).save(tmp_path / name / path.name)
    return tmp_path


def test_masks_are_scored_as_the_reference_does(
    shifted: Path, eval_video_dir: Path, reference_dir: Path, tmp_path: Path, capsys
) -> None:
    reference = json.loads((reference_dir / "jf_reference.json").read_text())["sequences"]
    names = ["--sequences", "car-shadow", "chair"]
    report = tmp_path / "scores.json"
    for kind, option in (("skip_ends", []), ("all_frames", ["--all-frames"])):
        assert evaluate("masks", str(eval_video_dir), str(shifted), "--json", str(report), *names, *option) == 0
        scores = json.loads(report.read_text())
        assert list(scores["sequences"]) == ["car-shadow", "chair"]
        expected = [reference[name][f"shift/{kind}"] for name in ("car-shadow", "chair")]
        for found, wanted in zip(scores["sequences"].values(), expected, strict=True):
            assert found["1"]["J"] == pytest.approx(wanted["J"]["1"], abs=2e-13)
            assert found["1"]["F"] == pytest.approx(wanted["F"]["1"], abs=2e-13)
        mean_j = sum(wanted["J"]["1"] for wanted in expected) / 2
        assert scores["mean"]["J"] == pytest.approx(mean_j, abs=2e-13)
        assert scores["all_frames"] == (kind == "all_frames")
    table = capsys.readouterr().out
    assert "car-shadow  1        90.3  100.0" in table


def test_a_bundle_is_tracked_and_scored_beside_the_baselines(eval_video_dir: Path, tmp_path: Path, capsys) -> None:
    for folder, suffix in (("images", "jpg"), ("masks", "png")):
        (tmp_path / "data" / "dog" / folder).mkdir(parents=True)
        for number in range(5):
            name = f"{number:05d}.{suffix}"
            shutil.copy(eval_video_dir / "dog" / folder / name, tmp_path / "data" / "dog" / folder / name)
    report, data, masks = tmp_path / "scores.json", str(tmp_path / "data"), str(tmp_path / "masks")
    assert evaluate("vos", BUNDLE, "--data", data, "--predictions", masks, "--json", str(report), "--baselines") == 0
    tracked = json.loads(report.read_text())
    assert capsys.readouterr().out.splitlines()[0].split("  ")[-6:] == [
        "model J",
        "model F",
        "copy J",
        "copy F",
        "flow J",
        "flow F",
    ]
    assert list(tracked["baselines"]) == ["copy", "flow"]
    assert 0 < tracked["baselines"]["copy"]["mean"]["J"] < tracked["baselines"]["flow"]["mean"]["J"] < 100
    assert tracked["format"] == "folders" and tracked["not_scored"] == []
    assert evaluate("masks", data, masks, "--json", str(report)) == 0
    assert json.loads(report.read_text())["sequences"] == tracked["sequences"]


def test_a_checkpoint_scores_as_its_bundle(repository: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    write_video(tmp_path / "data" / "clip" / "images", tmp_path / "data" / "clip" / "masks", {1: 0, 2: 0}, n_frames=3)
    weights = repository / "etam_onnx" / "weights" / "etam-nano.pt"
    scores = []
    for model in ([BUNDLE], ["--checkpoint", str(weights), "--model", "etam-nano", "--threads", "1"]):
        assert evaluate("vos", *model, "--data", str(tmp_path / "data"), "--json", str(tmp_path / "scores.json")) == 0
        scores.append(json.loads((tmp_path / "scores.json").read_text()))
    assert "manifest_sha256" in scores[0]["model"] and "checkpoint_sha256" in scores[1]["model"]
    for number in "12":
        found, expected = (entry["sequences"]["clip"][number]["J"] for entry in scores)
        assert found == pytest.approx(expected, abs=0.5)  # one pixel of an object of 320 is 0.3 percent


def test_predictions_of_sa_v_lie_in_a_folder_per_object(bundle: str, tmp_path: Path) -> None:
    write_sa_v(tmp_path / "data", "sav_000001", {1: 0, 2: 6})
    words = ["--data", str(tmp_path / "data"), "--predictions", str(tmp_path / "masks"), "--json"]
    assert evaluate("vos", bundle, *words, str(tmp_path / "scores.json")) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["format"] == "sa-v" and list(scores["sequences"]["sav_000001"]) == ["0", "1"]
    words = [str(tmp_path / "data" / "Annotations_6fps"), str(tmp_path / "masks"), "--format", "sa-v", "--json"]
    assert evaluate("masks", *words, str(tmp_path / "again.json")) == 0
    assert json.loads((tmp_path / "again.json").read_text())["sequences"] == scores["sequences"]
    folders = sorted((tmp_path / "masks" / "sav_000001").iterdir())
    assert [folder.name for folder in folders] == ["000", "001"]
    assert all(len(list(folder.iterdir())) == 17 for folder in folders)
    assert not read_label_map(folders[1] / "00007.png").any()
    given = scene(8, {1: 0, 2: 6})[1] == 2
    found = read_label_map(folders[1] / "00008.png")
    assert set(np.unique(found)) == {0, 1}
    assert region_similarity(found == 1, given) > 0.7  # the mask prompt, through a grid of 16x16


def test_a_split_whose_annotations_are_kept_secret_gives_predictions(bundle: str, tmp_path: Path, capsys) -> None:
    for name in ("a", "b"):
        write_flat(tmp_path / "valid", name, {1: 0, 2: 0}, annotated=[0])
    words = ["vos", bundle, "--data", str(tmp_path / "valid"), "--baselines"]
    with pytest.raises(ValueError, match=r"no video in .* has annotations to score beside its prompts"):
        evaluate(*words)
    assert evaluate(*words, "--predictions", str(tmp_path / "masks")) == 0
    assert "masks of 2 videos; nothing is annotated to score them with" in capsys.readouterr().out
    assert len(list((tmp_path / "masks" / "b").glob("*.png"))) == 6
    write_flat(tmp_path / "valid", "b", {1: 0, 2: 0})
    assert evaluate(*words, "--json", str(tmp_path / "scores.json")) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert list(scores["sequences"]) == ["b"] and scores["not_scored"] == ["a"]
    assert "not scored for want of annotations: 1 videos" in capsys.readouterr().out


def test_youtube_vos_gets_its_overall_score(bundle: str, tmp_path: Path, capsys) -> None:
    valid = tmp_path / "valid"
    write_flat(valid, "clip", {1: 0, 2: 5}, n_frames=11, annotated=[0, 5, 10])
    write_meta(valid / "meta.json", {"clip": {1: {"category": "cat"}, 2: {"category": "yak"}}})
    words = ["vos", bundle, "--data", str(valid), "--json", str(tmp_path / "scores.json")]
    assert evaluate(*words) == 0
    assert "no G: which categories are seen stands in the training split's meta.json" in capsys.readouterr().out
    write_meta(tmp_path / "meta.json", {"z": {1: {"category": "cat"}}})
    assert evaluate(*words, "--seen", str(tmp_path / "meta.json")) == 0
    mean = json.loads((tmp_path / "scores.json").read_text())["mean"]
    parts = [mean[name] for name in ("J_seen", "F_seen", "J_unseen", "F_unseen")]
    assert mean["G"] == pytest.approx(sum(parts) / 4)
    assert f"G {mean['G']:.1f}" in capsys.readouterr().out


def test_lvos_gets_its_overall_score(bundle: str, tmp_path: Path, capsys) -> None:
    for name in ("a", "b"):
        write_flat(tmp_path / "valid", name, {1: 0})
    facts = {1: {"frame_range": {"start": 0, "end": 6, "frame_nums": 6}}}
    write_meta(tmp_path / "valid" / "meta.json", {"a": facts, "b": facts})
    words = ["vos", bundle, "--data", str(tmp_path / "valid"), "--json", str(tmp_path / "scores.json")]
    assert evaluate(*words) == 0
    assert "G" not in json.loads((tmp_path / "scores.json").read_text())["mean"]
    (tmp_path / "valid" / "unseen_videos.txt").write_text("b\n")
    assert evaluate(*words) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    unseen = scores["sequences"]["b"]["1"]
    assert scores["mean"]["J_unseen"] == pytest.approx(unseen["J"])
    assert f"G {scores['mean']['G']:.1f}" in capsys.readouterr().out


def test_interactive_in_both_modes(bundle: str, tmp_path: Path, capsys) -> None:
    write_video(tmp_path / "data" / "clip" / "images", tmp_path / "data" / "clip" / "masks", {1: 0, 2: 1})
    output = tmp_path / "run"
    words = ["--data", str(tmp_path / "data"), "--frames", "2", "--output", str(output)]
    assert evaluate("interactive", bundle, *words) == 0
    report = json.loads((output / "scores.json").read_text())
    for mode in ("offline", "online"):
        entry = report[mode]["sequences"]["clip"]["1"]
        assert len(entry["by_frames"]) == len(report[mode]["by_frames"]) == 2
        assert len(entry["frames"]) == 2 and entry["frames"][0] == 0
        assert entry["J"] == pytest.approx(sum(score["J"] for score in entry["by_frames"]) / 2)
    assert capsys.readouterr().out.startswith("J&F      1 frame  2 frames  mean")
    with Image.open(output / "pictures" / "_frames_clicked_on.png") as chart:
        assert chart.size == (640, 360)


def test_images_of_a_split(bundle: str, tmp_path: Path, capsys) -> None:
    frame, labels = scene(0, {1: 0, 2: 0})
    for name in ("a", "b", "c"):
        save(tmp_path / "data" / "images" / f"{name}.png", frame)
        save(tmp_path / "data" / "masks" / f"{name}.png", labels)
    (tmp_path / "data" / "index.csv").write_text("name,source,split\na,zoo,val\nb,web,val\nc,web,train\n")
    words = ["images", bundle, "--data", str(tmp_path / "data"), "--split", "val"]
    assert evaluate(*words, "--output", str(tmp_path / "run"), "--json", str(tmp_path / "scores.json")) == 0
    report = json.loads((tmp_path / "scores.json").read_text())
    assert list(report["images"]) == ["a", "b"] and list(report["groups"]) == ["web", "zoo"]
    assert report["mean"]["oracle"] >= report["mean"]["1-click"]
    assert len(report["mean"]["by_clicks"]) == 5
    assert report == json.loads((tmp_path / "run" / "scores.json").read_text())
    assert capsys.readouterr().out.startswith("mIoU  pictures  objects  1 click  best of 3  5 clicks")
    assert {path.name for path in (tmp_path / "run" / "pictures").iterdir()} == {"_clicks.png", "_worst_objects.png"}
    assert evaluate(*words, "--limit", "1", "--json", str(tmp_path / "scores.json")) == 0
    assert list(json.loads((tmp_path / "scores.json").read_text())["images"]) == ["a"]


def test_errors_name_what_is_wrong_and_write_nothing(shifted: Path, eval_video_dir: Path, tmp_path: Path) -> None:
    report = tmp_path / "scores.json"
    (shifted / "chair" / "00059.png").unlink()
    with pytest.raises(FileNotFoundError, match="sequence chair: there is no prediction for frame 00059"):
        evaluate("masks", str(eval_video_dir), str(shifted), "--sequences", "chair", "--json", str(report))
    with pytest.raises(FileNotFoundError, match="sequence blackswan is not in"):
        evaluate("masks", str(eval_video_dir), str(shifted), "--json", str(report))
    with pytest.raises(FileNotFoundError, match="sequence horse is not in"):
        evaluate("masks", str(eval_video_dir), str(shifted), "--sequences", "horse", "--json", str(report))
    assert not report.exists()
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere to write scores"):
        evaluate("masks", str(eval_video_dir), str(shifted), "--json", str(tmp_path / "nowhere" / "scores.json"))


@pytest.mark.parametrize("kind", ["vos", "interactive", "images"])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name either a BUNDLE or --checkpoint FILE with --model NAME"),
        (["etam-nano", "--checkpoint", "w.pt"], "name either a BUNDLE or --checkpoint FILE with --model NAME"),
        (["--checkpoint", "w.pt"], "--checkpoint FILE and --model NAME belong together"),
        (["etam-nano", "--workers", "0"], "--workers should be at least 1, found 0"),
        (["etam-nano", "--threads", "-1"], "--threads should be at least 1, found -1"),
        (["etam-nano", "--output", "nowhere/run"], "there is no folder nowhere to write run into"),
        (["no-such-bundle"], "there is no bundle 'no-such-bundle'"),
    ],
)
def test_a_command_that_makes_no_sense_says_so_in_one_line(
    kind: str, words: list[str], message: str, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    frame, labels = scene(0, {1: 0})
    for folder in ("clip/images", "images"):
        save(tmp_path / "data" / folder / "0.png", frame)
    for folder in ("clip/masks", "masks"):
        save(tmp_path / "data" / folder / "0.png", labels)
    assert main(["evaluate", kind, *words, "--data", "data"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error


def test_the_options_name_what_there_is() -> None:
    assert tuple(CONVENTIONS) == FORMATS
    assert VOS_PROMPTS == PROMPTS


def test_registering_loads_nothing_heavy(repository: Path) -> None:
    code = (
        "import sys, argparse; from etam_onnx.cli.evaluate import register;"
        "register(argparse.ArgumentParser().add_subparsers());"
        "print([name for name in ('numpy', 'PIL', 'cv2', 'torch', 'onnxruntime') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", ["masks", "vos", "interactive", "images"])
def test_help_shows_an_example(kind: str, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        evaluate(kind, "--help")
    assert stopped.value.code == 0
    assert f"etam-onnx evaluate {kind} " in capsys.readouterr().out.split("example")[1]


def test_the_example_of_the_page_runs(repository: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    images, masks = (tmp_path / "DAVIS" / folder / "480p" / "clip" for folder in ("JPEGImages", "Annotations"))
    write_video(images, masks, {1: 0, 2: 0}, n_frames=3)
    (example,) = re.findall(r"```python\n(.*?)```", (repository / "docs" / "evaluation.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "evaluation.md", "exec"), {})
    name, scores = capsys.readouterr().out.strip().split(" ", 1)
    found = ast.literal_eval(scores)
    assert name == "clip" and list(found) == [1, 2] and all(50 < score <= 100 for score in found.values())
