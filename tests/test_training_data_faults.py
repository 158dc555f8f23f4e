"""What is wrong with a data set: bad items are skipped and counted, bad folders named in a sentence."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("cv2", reason="training data needs OpenCV: pip install 'etam-onnx[train]'")

from test_training_data import (
    HEIGHT,
    WIDTH,
    colour_overlaps,
    label_map,
    write_folders,
    write_palette,
    write_sa1b,
    write_sav,
)

from etam_onnx.training.data import PLAIN, open_source
from etam_onnx.training.data.footage import FootageSource


def expect_skips(source: FootageSource, times: tuple[int, ...], count: int = 12) -> int:
    """Draws clips, all of which must be of the good video; returns how many items were skipped."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for seed in range(count):
            assert colour_overlaps(source.make([seed], 128, times, 1)).min() > 0.85
    assert any("could not be used" in str(warning.message) for warning in told)
    return source.skipped


def test_what_is_broken_in_a_folder_is_skipped_and_counted(tmp_path: Path) -> None:
    write_folders(tmp_path, "good", 6)
    write_folders(tmp_path, "short", 2)
    write_folders(tmp_path, "cut", 6)
    for path in (tmp_path / "JPEGImages" / "cut").iterdir():
        path.write_bytes(path.read_bytes()[:200])
    write_folders(tmp_path, "empty", 6)
    for path in (tmp_path / "Annotations" / "empty").iterdir():
        write_palette(path, np.zeros((HEIGHT, WIDTH), np.uint8))
    write_folders(tmp_path, "size", 6)
    for path in (tmp_path / "Annotations" / "size").iterdir():
        write_palette(path, np.ones((10, 10), np.uint8))
    write_folders(tmp_path, "torn", 6)
    for path in (tmp_path / "Annotations" / "torn").iterdir():
        path.write_bytes(path.read_bytes()[:60])
    (tmp_path / "Annotations" / "frameless").mkdir()
    write_palette(tmp_path / "Annotations" / "frameless" / "00000.png", label_map(0))
    source = open_source(tmp_path, augmentation=PLAIN)
    assert len(source.items) == 7
    assert expect_skips(source, (0, 2, 4)) > 12


def test_what_is_broken_in_sav_is_skipped_and_counted(tmp_path: Path) -> None:
    for name in ("sav_1", "sav_2", "sav_3", "sav_4", "sav_5"):
        write_sav(tmp_path, name, annotated=5)
    video = tmp_path / "sav_2.mp4"
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    (tmp_path / "sav_3.mp4").unlink()
    (tmp_path / "sav_4_manual.json").write_text('{"masklet": [[{"size"')
    table = json.loads((tmp_path / "sav_5_manual.json").read_text())
    table["masklet"] = [[None]] * 5
    (tmp_path / "sav_5_manual.json").write_text(json.dumps(table))
    assert expect_skips(open_source(tmp_path, augmentation=PLAIN), (0, 2, 4)) > 12


def test_what_is_broken_in_sa1b_is_skipped_and_counted(tmp_path: Path) -> None:
    good = [label_map(4) == 1]
    write_sa1b(tmp_path, 1, good)
    cut = write_sa1b(tmp_path, 2, good)
    cut.write_bytes(cut.read_bytes()[:300])
    write_sa1b(tmp_path, 3, good).with_suffix(".json").write_text("{")
    write_sa1b(tmp_path, 4, [np.zeros((HEIGHT, WIDTH), bool)])
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(write_sa1b(tmp_path, 5, good))
    assert expect_skips(open_source(tmp_path, augmentation=PLAIN), (0,)) > 12


def test_a_folder_with_nothing_usable_says_so_in_a_sentence(tmp_path: Path) -> None:
    write_folders(tmp_path, "short", 2)
    source = open_source(tmp_path)
    with (
        pytest.warns(UserWarning, match="short: it has 2 annotated frames"),
        pytest.raises(ValueError, match=r"None of 64 items .* has 2 annotated frames, the clip needs 6"),
    ):
        source.make([0], 64, (0, 5), 1)


def test_what_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        open_source(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="none of the known layouts"):
        open_source(tmp_path)
    with pytest.raises(ValueError, match="must be one of train, val"):
        open_source(tmp_path, "test")
    write_folders(tmp_path, "video", 2)
    with pytest.raises(ValueError, match="has no val split"):
        open_source(tmp_path, "val")
    with pytest.raises(ValueError, match="must start at 0"):
        open_source(tmp_path).make([0], 64, (1, 2), 1)
