"""The command line with real graphs: what is written is exactly what the predictors give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from painted_video import disc_frames, discs, encode
from PIL import Image

from etam_onnx import ImagePredictor, VideoPredictor
from etam_onnx.cli.main import main
from etam_onnx.cli.mask_folder import label_map
from etam_onnx.graphs.bundle import DEFAULT, Bundle
from etam_onnx.runtime.frames import open_video

COUNT = 8


@pytest.fixture(scope="module")
def bundle() -> Path:
    """The shipped bundle."""
    return Bundle.open(DEFAULT).root


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode(tmp_path_factory.mktemp("clip") / "clip.mp4", disc_frames(COUNT), options={"crf": "8"})


def labels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(picture)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_tracked_masks_are_those_of_the_predictor(
    bundle: Path, clip: Path, tmp_path: Path, reverse: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    start = COUNT - 2 if reverse else 1
    out, masks = tmp_path / "out.mp4", tmp_path / "masks"
    words = ["track", str(clip), "--model", str(bundle), "--start", str(start), "-o", str(out)]
    words += ["--point", "1:40,40", "--not-point", "1:100,20", "--box", "100,70,140,110"]
    words += ["--reverse"] if reverse else []
    assert main([*words, "--masks", str(masks)]) == 0
    assert capsys.readouterr().out.startswith("tracked 2 objects through 7 frames, ")

    predictor = VideoPredictor(bundle)
    state = predictor.init_state(clip)
    predictor.add_new_points_or_box(state, start, 1, points=[(40, 40), (100, 20)], labels=[1, 0])
    predictor.add_new_points_or_box(state, start, 2, box=[100, 70, 140, 110])
    seen = []
    for index, ids, logits in predictor.propagate_in_video(state, start, reverse=reverse):
        np.testing.assert_array_equal(labels(masks / f"{index:05d}.png"), label_map(ids, logits[:, 0]))
        seen.append(index)
    assert sorted(p.name for p in masks.iterdir()) == [f"{i:05d}.png" for i in sorted(seen)]
    assert len(seen) == 7
    assert len(open_video(out)) == COUNT


def test_a_mask_prompt_and_the_options_reach_the_predictor(bundle: Path, clip: Path, tmp_path: Path) -> None:
    given = discs(0)["red"] + 2 * discs(0)["blue"]
    Image.fromarray(given.astype(np.uint8)).save(tmp_path / "given.png")
    words = ["track", str(clip), "--model", str(bundle), "--mask", str(tmp_path / "given.png")]
    masks = tmp_path / "masks"
    assert main([*words, "--fill-holes", "40", "--non-overlap", "--max-frames", "3", "--masks", str(masks)]) == 0

    predictor = VideoPredictor(bundle, fill_hole_area=40, non_overlap_masks=True)
    state = predictor.init_state(clip)
    for number, disc in ((1, "red"), (2, "blue")):
        predictor.add_new_mask(state, 0, number, discs(0)[disc])
    for index, ids, logits in predictor.propagate_in_video(state, 0, 2):
        np.testing.assert_array_equal(labels(masks / f"{index:05d}.png"), label_map(ids, logits[:, 0]))
    assert len(list(masks.iterdir())) == 3


def test_a_picture_is_segmented_as_by_the_predictor(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = disc_frames(1)[0]
    picture, mask = tmp_path / "picture.png", tmp_path / "mask.png"
    Image.fromarray(frame).save(picture)
    words = ["segment", str(picture), "--model", str(bundle), "--point", "30,40", "--mask-out", str(mask)]
    assert main(words) == 0
    predictor = ImagePredictor(bundle)
    predictor.set_image(frame)
    found, ious, _ = predictor.predict([(30, 40)], [1])
    best = int(ious.argmax())
    np.testing.assert_array_equal(labels(mask), found[best])
    line = f"object 1: {int(found[best].sum())} pixels, predicted IoU {ious[best]:.2f}: {mask}\n"
    assert capsys.readouterr().out == line


def test_the_demo_runs_and_is_scored(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo.mp4"
    assert main(["track", "--demo", "--model", str(bundle), "--max-frames", "3", "-o", str(out)]) == 0
    line = capsys.readouterr().out
    assert line.startswith("tracked 1 object through 3 frames, ")
    assert float(line.split("mean IoU ")[1].split()[0]) > 0.7
    assert (len(open_video(out)), open_video(out).size) == (3, (854, 480))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--device", "no-such-device"], "no-such-device"),
        (["--point", "1:1,1"] + 20 * ["--point", "1:5,5"], "points on a frame"),
    ],
)
def test_what_only_the_model_can_refuse(
    bundle: Path,
    clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    sentence: str,
) -> None:
    request = [
        "track",
        str(clip),
        "--model",
        str(bundle),
        "--point",
        "30,40",
        "-o",
        str(tmp_path / "out.mp4"),
    ]
    assert main([*request, *words]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ")
    assert sentence in printed.err
    assert printed.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_bundle_is_one_sentence(
    bundle: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "damaged"
    for source in sorted(bundle.rglob("*")):
        if source.is_file():
            copy = damaged / source.relative_to(bundle)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(source.read_bytes())
    graph = damaged / "ort" / "mask_decoder.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])
    out = tmp_path / "out.mp4"
    assert main(["track", str(clip), "--model", str(damaged), "--point", "30,40", "-o", str(out)]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: {graph} is damaged: expected ")
    assert printed.err.count("\n") == 1
    assert not out.exists()
