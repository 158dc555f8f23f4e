"""Clicks on the objects of pictures, and the two ways in which pictures and masks lie on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from written_videos import save

from etam_onnx.evaluation.annotated_images import read_images
from etam_onnx.evaluation.image_report import PictureScores, pictures_as_json, pictures_as_table
from etam_onnx.evaluation.segment_anything import click_picture
from etam_onnx.evaluation.sequences import Annotation, annotation_of
from etam_onnx.evaluation.worst_frames import segmentation

SHAPE = (40, 60)


def rectangle(rows: slice, columns: slice) -> NDArray[np.bool_]:
    mask = np.zeros(SHAPE, np.bool_)
    mask[rows, columns] = True
    return mask


WHOLE = rectangle(slice(5, 35), slice(10, 50))
LEFT = rectangle(slice(5, 35), slice(10, 30))
SLICE = rectangle(slice(5, 35), slice(10, 20))


class SquarePredictor:
    """Three squares around the first click; the middle one is believed in. Later clicks paint or erase squares."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[tuple[float, ...]], list[int], bool, bool]] = []

    def set_image(self, image: NDArray[np.uint8]) -> None:
        self.shape = image.shape[:2]

    def predict(self, point_coords, point_labels, mask_input, multimask_output):
        self.calls.append(
            (point_coords.tolist(), point_labels.tolist(), mask_input is not None, bool(multimask_output))
        )
        reaches = (4, 8, 12) if multimask_output else (8,)
        masks = np.stack([self._drawn(point_coords, point_labels, reach) for reach in reaches])
        logits = np.where(masks[:, ::4, ::4], 5.0, -5.0).astype(np.float32)
        if mask_input is not None:
            assert np.array_equal(mask_input, self.latest)
        self.latest = logits[1] if multimask_output else logits[0]
        return masks, np.array([0.2, 0.9, 0.5][: len(masks)], np.float32), logits

    def _drawn(self, points, labels, reach: int) -> NDArray[np.bool_]:
        mask = np.zeros(self.shape, np.bool_)
        for (x, y), label in zip(points.astype(int), labels, strict=True):
            mask[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1] = label == 1
        return mask


def test_the_first_click_is_deep_inside_and_each_further_one_corrects() -> None:
    predictor = SquarePredictor()
    picture = np.zeros((*SHAPE, 3), np.uint8)
    ((number, found),) = click_picture(predictor, picture, Annotation({7: WHOLE}))
    assert number == 7
    points, labels, with_mask, several = zip(*predictor.calls, strict=True)
    assert labels == ([1], [1, 1], [1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1, 1])
    assert with_mask == (False, True, True, True, True) and several == (True, False, False, False, False)
    assert 25 <= points[0][0][0] <= 34 and points[0][0][1] in (19, 20)
    assert [tuple(point) for point in points[-1]] == [(click.x, click.y) for click in found.clicks]
    assert found.iou[0] == pytest.approx(100 * 17 * 17 / 1200)  # believed in, not the best one
    assert found.oracle == pytest.approx(100 * 25 * 25 / 1200)
    assert found.first.sum() == 17 * 17
    assert list(found.iou) == sorted(found.iou) and found.iou[-1] > 60


def test_too_much_is_clicked_off_and_void_is_left_alone() -> None:
    picture = np.zeros((*SHAPE, 3), np.uint8)
    ((_, found),) = click_picture(SquarePredictor(), picture, Annotation({1: SLICE}), 2)
    assert found.clicks[1].label in (0, 1) and not np.array_equal(found.first, SLICE)
    x, y, label = found.clicks[1]
    assert bool(SLICE[int(y), int(x)]) is (label == 1)
    around = rectangle(slice(0, 40), slice(0, 60)) & ~SLICE
    ((_, inside),) = click_picture(SquarePredictor(), picture, Annotation({1: SLICE}, around), 2)
    assert inside.clicks[1].label == 1 and SLICE[int(inside.clicks[1].y), int(inside.clicks[1].x)]
    assert inside.iou[0] == pytest.approx(100 * 17 * 10 / 300)


def test_a_perfect_mask_gets_no_further_click() -> None:
    truth = np.zeros(SHAPE, np.bool_)
    truth[12:29, 22:39] = True
    ((_, found),) = click_picture(SquarePredictor(), np.zeros((*SHAPE, 3), np.uint8), Annotation({1: truth}))
    assert found.iou == (100.0,) * 5 and len(found.clicks) == 1


def write_palette(root: Path) -> None:
    labels = WHOLE.astype(np.uint8) * 3
    labels[:2] = 255
    for name in ("a", "b", "c"):
        save(root / "images" / f"{name}.jpg", np.zeros((*SHAPE, 3), np.uint8))
        save(root / "masks" / f"{name}.png", labels)
    rows = ["name,source,split", "b,zoo,val", "a,zoo,val", "c,web,train"]
    (root / "index.csv").write_text("\n".join(rows) + "\n")


def test_pictures_beside_palette_masks(tmp_path: Path) -> None:
    write_palette(tmp_path)
    images = read_images(tmp_path, "val")
    assert [(image.name, image.group) for image in images] == [("a", "zoo"), ("b", "zoo")]
    assert images[0].read().shape == (*SHAPE, 3)
    truth = images[0].annotation(SHAPE)
    assert list(truth.masks) == [3] and np.array_equal(truth.masks[3], WHOLE)
    assert truth.void is not None and truth.void.sum() == 2 * 60
    assert len(read_images(tmp_path)) == 3
    assert [image.name for image in read_images(tmp_path, names=["c", "a"])] == ["c", "a"]
    with pytest.raises(ValueError, match="image a: a mask is 60x40 pixels, the picture 10x10"):
        images[0].annotation((10, 10))
    with pytest.raises(FileNotFoundError, match="holds no annotated picture of the split test"):
        read_images(tmp_path, "test")
    with pytest.raises(FileNotFoundError, match="picture d is not in"):
        read_images(tmp_path, names=["d"])
    (tmp_path / "masks" / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match="names b, of which picture or mask is missing"):
        read_images(tmp_path)


def test_pictures_that_are_called_alike_are_not_taken_for_one(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        save(tmp_path / "sa" / folder / "sa_1.png", np.zeros((*SHAPE, 3), np.uint8))
        (tmp_path / "sa" / folder / "sa_1.json").write_text('{"annotations": []}')
    with pytest.raises(ValueError, match=r"two pictures are called sa_1: .*one.sa_1\.png and .*two.sa_1\.png"):
        read_images(tmp_path / "sa")
    write_palette(tmp_path / "palette")
    save(tmp_path / "palette" / "images" / "b.png", np.zeros((*SHAPE, 3), np.uint8))
    with pytest.raises(ValueError, match="two pictures are called b"):
        read_images(tmp_path / "palette")


def test_pictures_of_sa_1b(tmp_path: Path) -> None:
    for name in ("sa_2", "sa_1"):
        save(tmp_path / f"{name}.jpg", np.zeros((*SHAPE, 3), np.uint8))
        entries = [{"id": 90, "segmentation": segmentation(mask)} for mask in (WHOLE, LEFT, WHOLE & ~WHOLE)]
        (tmp_path / f"{name}.json").write_text(json.dumps({"image": {}, "annotations": entries}))
    images = read_images(tmp_path)
    assert [image.name for image in images] == ["sa_1", "sa_2"]
    masks = images[0].annotation(SHAPE).masks
    assert list(masks) == [1, 2] and np.array_equal(masks[2], LEFT)
    with pytest.raises(ValueError, match=r"has no index\.csv"):
        read_images(tmp_path, "val")
    (tmp_path / "sa_1.json").write_text('{"annotations": [{"segmentation": {"size": [2, 2], "counts": [3]}}]}')
    with pytest.raises(ValueError, match="image sa_1: runs of 3 pixels do not make a mask of 2x2"):
        images[0].annotation(SHAPE)
    (tmp_path / "sa_1.json").write_text("[]")
    with pytest.raises(ValueError, match=r"sa_1\.json does not hold annotations"):
        images[0].annotation(SHAPE)


def test_every_object_counts_once_and_groups_are_shown_apart() -> None:
    pictures = {
        "a": PictureScores("zoo", {1: [40.0, 60.0], 2: [80.0, 100.0]}, {1: 50.0, 2: 90.0}),
        "b": PictureScores("web", {1: [30.0, 50.0]}, {1: 40.0}),
    }
    report = pictures_as_json(pictures)
    assert report["images"]["a"]["2"] == {"1-click": 80.0, "2-click": 100.0, "oracle": 90.0}
    assert report["mean"] == {"1-click": 50.0, "2-click": 70.0, "oracle": 60.0, "by_clicks": [50.0, 70.0]}
    assert report["groups"]["zoo"]["1-click"] == 60.0
    assert pictures_as_table(pictures).splitlines()[2:] == [
        "web   1         1           30.0       40.0      50.0",
        "zoo   1         2           60.0       70.0      80.0",
        "mean  2         3           50.0       60.0      70.0",
    ]
    with pytest.raises(ValueError, match="none of the pictures has an object"):
        pictures_as_json({"a": PictureScores("", {}, {})})


def test_labels_above_the_void_do_not_exist() -> None:
    labels = np.array([[1, 255], [254, 0]], np.uint8)
    truth = annotation_of(labels, 255)
    assert list(truth.masks) == [1, 254]
