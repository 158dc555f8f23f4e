"""Masks as run lengths, the way SA-1B and SA-V hold them: decoded exactly, or refused."""

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2", reason="training data needs OpenCV: pip install 'etam-onnx[train]'")

from etam_onnx.runtime.run_lengths import CocoMask, coco_string, lengths_of_text, run_lengths  # noqa: E402


def test_run_lengths_of_coco() -> None:
    assert lengths_of_text("121").tolist() == [1, 2, 1]
    assert CocoMask({"size": [2, 2], "counts": "121"}).pixels().tolist() == [[False, True], [True, False]]
    rng = np.random.default_rng(0)
    for size in ((7, 5), (40, 33), (300, 211)):
        mask = cv2.GaussianBlur(rng.uniform(size=size), (0, 0), 2.0) > 0.5
        for counts in (coco_string(run_lengths(mask)), run_lengths(mask)):
            read = CocoMask({"size": list(size), "counts": counts})
            assert np.array_equal(read.pixels(), mask) and read.area == mask.sum()


@pytest.mark.parametrize(
    "broken",
    [
        {"size": [2, 2], "counts": "12"},
        {"size": [2, 2], "counts": "P"},
        {"size": [2, 2], "counts": ""},
        {"size": [2, 2], "counts": "1\u00e9"},
        {"size": [2], "counts": "121"},
        {"size": [2, 2], "counts": [-1, 5]},
        {"size": [2, 2]},
        "121",
        None,
    ],
)
def test_broken_run_lengths_are_unusable(broken: object) -> None:
    with pytest.raises(ValueError):
        CocoMask(broken)
