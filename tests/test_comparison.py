"""`compare`: masks of two variants, frame by frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import write_bundle

from etam_onnx.cli.main import main
from etam_onnx.comparison import Comparison, Overlap, compare

EMPTY = np.zeros((4, 4), bool)
FULL = np.ones((4, 4), bool)
HALF = np.arange(16).reshape(4, 4) < 8


def test_the_overlap_of_two_masks() -> None:
    assert Overlap.of(3, 1, HALF, FULL) == Overlap(3, 1, 0.5, False)
    assert Overlap.of(3, 1, EMPTY, EMPTY) == Overlap(3, 1, 1.0, False)
    assert Overlap.of(3, 1, HALF, EMPTY) == Overlap(3, 1, 0.0, True)


def test_objects_and_variants_are_kept_apart() -> None:
    frames = [
        (5, ({1: FULL, 2: HALF}, {1: FULL, 2: HALF}, {1: HALF, 2: HALF})),
        (4, ({1: FULL, 2: HALF}, {2: HALF, 1: FULL}, {1: FULL, 2: EMPTY})),
        (3, ({1: EMPTY, 2: EMPTY}, {1: EMPTY, 2: EMPTY}, {1: EMPTY, 2: HALF})),
    ]
    same, other = compare(frames, ["same", "other"])
    assert (same.variant, same.mean, same.worst.iou, same.alone) == ("same", 1.0, 1.0, 0)
    assert same.by_frame() == {5: 1.0, 4: 1.0, 3: 1.0}
    assert other.mean == pytest.approx((0.5 + 1 + 1 + 0 + 1 + 0) / 6)
    assert (other.worst, other.alone) == (Overlap(4, 2, 0.0, True), 2)
    assert other.by_frame() == {5: 0.5, 4: 0.0, 3: 0.0}


def test_a_variant_without_the_reference_s_objects_is_an_error() -> None:
    with pytest.raises(KeyError):
        Comparison("other").add(0, {1: FULL}, {2: FULL})


@pytest.fixture
def video(tmp_path: Path) -> str:
    """Three pictures of noise as frames of a video."""
    from PIL import Image

    noise = np.random.default_rng(0)
    for number in range(3):
        pixels = noise.integers(0, 256, (60, 80, 3), np.uint8)
        Image.fromarray(pixels).resize((160, 120)).save(tmp_path / f"{number}.png")
    return str(tmp_path)


def rows(printed: str) -> list[list[str]]:
    return [line.split() for line in printed.splitlines()]


def test_onnx_runtime_s_variant_equals_the_portable_one(
    small_bundle: Path, video: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = ["--point", "40,40", "--box", "2:20,20,120,100"]
    assert main(["compare", video, *prompts, "--model", str(small_bundle), "--variants", "ort", "--frames"]) == 0
    title, _, found, _, heads, *frames = rows(capsys.readouterr().out)
    assert title[:4] == ["3", "frames,", "2", "objects,"] and title[-1] == "portable:"
    assert found[0] == "ort" and float(found[2]) > 0.999 and found[4] == "0"  # measured 1.0000
    assert heads == ["frame", "ort"] and [row[0] for row in frames] == ["0", "1", "2"]


def test_packages_are_interpreted(small_packages: Path, video: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--model", str(small_packages), "--variants", "coreml-ios18", "--start", "2", "--reverse"]
    assert main(["compare", video, "--point", "40,40", *options]) == 0
    *_, found = rows(capsys.readouterr().out)
    assert found[0] == "coreml-ios18" and 0.99 < float(found[2]) < 1 and found[4] == "0", found  # measured 0.9979


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--variants", "ort-fp16"], "the one asked for is 'ort-fp16'"),
        (["--reference", "nothing"], "the one asked for is 'nothing'"),
        (["--device", "abacus"], "unknown device 'abacus'"),
        (["--point", "900,40"], "outside the frame"),
        (["--max-frames", "0"], "--max-frames must be at least 1"),
    ],
)
def test_requests_that_make_no_sense(
    small_bundle: Path, video: str, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", video, "--point", "40,40", "--model", str(small_bundle), *options]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and said in line


def test_a_bundle_of_one_variant_has_nothing_to_compare(
    tmp_path: Path, video: str, capsys: pytest.CaptureFixture[str]
) -> None:
    only = write_bundle(tmp_path / "bundle")
    assert main(["compare", video, "--point", "40,40", "--model", str(only)]) == 1
    assert "nothing but portable, which is the reference" in capsys.readouterr().err
