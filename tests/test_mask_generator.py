"""Segmenting everything, with a decoder that draws the disk under the click."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from etam_onnx import ImagePredictor, MaskGenerator
from etam_onnx.graphs.contract import Geometry
from etam_onnx.graphs.manifest import Constants, Manifest
from etam_onnx.runtime import mask_generator
from etam_onnx.runtime.mask_scores import box_nms, stability_score
from etam_onnx.runtime.networks import Networks
from etam_onnx.runtime.run_lengths import coco_string, run_lengths
from etam_onnx.runtime.small_regions import without_small_regions

SIDE = 128
HEIGHT, WIDTH = 96, 160
GEOMETRY = Geometry(SIDE, 16, 8, 4, 6, 15, 8, 16)
IMAGE = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
KEYS = ["segmentation", "area", "bbox", "predicted_iou", "point_coords", "stability_score", "crop_box"]

# Centre, radius and edge slope (logits per pixel) in the square of 128, and predicted IoU.
SHARP, SOFT = ((40, 44), 24.0, 8.0, 0.9), ((96, 80), 20.0, 0.1, 0.95)


class Disks:
    """Networks that know where the disks are: three masks per click, of which the second is the disk."""

    def __init__(self, *disks: tuple[tuple[float, float], float, float, float], hole: float = 0.0) -> None:
        self.disks, self.hole = disks, hole
        self.encoded = 0
        self.clicks: list[np.ndarray] = []

    def networks(self) -> Networks:
        manifest = Manifest("disks", GEOMETRY, Constants((0.0,) * 8, (0.0,) * 16, 0.0), {})
        return Networks(manifest, {"image_encoder": self.encode, "mask_decoder": self.decode})

    def encode(self, image: np.ndarray) -> dict[str, Any]:
        assert image.shape == (1, 3, SIDE, SIDE)
        self.encoded += 1
        return {"features": "raw", "features_without_memory": "without memory"}

    def decode(self, features: str, point_label: np.ndarray, points: np.ndarray, **mask: np.ndarray) -> dict[str, Any]:
        # A positive click in the first slot, the padding point in the second, nothing after it.
        assert features == "without memory" and mask["mask_used"] == 0
        assert point_label[0].argmax(1)[:2].tolist() == [2, 0] and point_label.sum() == 2
        self.clicks.append(points[0, 0].copy())
        logits, iou = np.full((1, 4, SIDE // 4, SIDE // 4), -5, np.float32), np.full((1, 4), 0.1, np.float32)
        y, x = 4 * np.mgrid[: SIDE // 4, : SIDE // 4] + 2
        for (cx, cy), radius, slope, quality in self.disks:
            if np.hypot(*(points[0, 0] - (cx, cy))) <= radius:
                distance = np.hypot(x - cx, y - cy)
                disk = np.minimum(radius - distance, distance - self.hole) if self.hole else radius - distance
                logits[0, 2], iou[0, 2] = slope * disk, quality
                logits[0, 0], iou[0, 0] = -logits[0, 2], 0.3
        return {"mask_logits": logits, "iou": iou, "mask_pointers": np.zeros((4, 8)), "presence": np.zeros(1)}


def generator(*disks: Any, hole: float = 0.0, **settings: Any) -> MaskGenerator:
    return MaskGenerator(Disks(*disks, hole=hole).networks(), **({"points_per_side": 8} | settings))


def ellipse(disk: Any) -> np.ndarray:
    """A disk of the square, in the image."""
    (cx, cy), radius, _, _ = disk
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    return np.hypot(x * SIDE / WIDTH - cx, y * SIDE / HEIGHT - cy) <= radius


def test_each_object_is_found_once_the_best_first() -> None:
    found = generator(SHARP, SOFT, stability_score_thresh=0.1).generate(IMAGE)
    assert [list(record) for record in found] == [KEYS, KEYS]
    for record, disk in zip(found, (SOFT, SHARP), strict=True):
        mask = record["segmentation"]
        assert mask.dtype == bool and mask.shape == (HEIGHT, WIDTH)
        assert record["predicted_iou"] == pytest.approx(disk[3])
        truth = ellipse(disk)
        assert (mask & truth).sum() / (mask | truth).sum() > 0.97
        ys, xs = mask.nonzero()
        assert record["bbox"] == [xs.min(), ys.min(), xs.max() - xs.min(), ys.max() - ys.min()]
        assert record["area"] == mask.sum()
        ((x, y),) = record["point_coords"]
        assert mask[int(y), int(x)]
        assert record["crop_box"] == [0, 0, WIDTH, HEIGHT]


def test_the_grid_lies_at_the_centres_of_equal_cells_and_the_image_is_encoded_once() -> None:
    disks = Disks(((64, 64), 200.0, 1.0, 0.9))
    found = MaskGenerator(disks.networks(), points_per_side=2, box_nms_thresh=1.0).generate(IMAGE)
    assert [record["point_coords"] for record in found] == [[[40, 24]], [[120, 24]], [[40, 72]], [[120, 72]]]
    assert [click.tolist() for click in disks.clicks] == [[32, 32], [96, 32], [32, 96], [96, 96]]
    assert disks.encoded == 1


def test_the_masks_are_those_of_the_image_predictor() -> None:
    settings = {"stability_score_thresh": 0.1, "box_nms_thresh": 1.0}
    found = generator(SHARP, SOFT, **settings).generate(IMAGE)
    predictor = ImagePredictor(Disks(SHARP, SOFT).networks())
    predictor.set_image(IMAGE)
    assert len(found) > 5
    for record in found:
        logits, ious, _ = predictor.predict(record["point_coords"], [1], return_logits=True)
        assert np.array_equal(record["segmentation"], logits[1] > 0)
        assert record["predicted_iou"] == float(ious[1])
        assert record["stability_score"] == stability_score(logits[1], 1.0)


def test_predicted_iou_must_exceed_its_threshold() -> None:
    disk = (*SHARP[:3], 0.75)
    assert generator(disk, pred_iou_thresh=0.75).generate(IMAGE) == []
    assert len(generator(disk, pred_iou_thresh=0.74).generate(IMAGE)) == 1
    # Without thresholds all masks count but those without a pixel: the two others of each click.
    everything = generator(disk, pred_iou_thresh=0, stability_score_thresh=0, box_nms_thresh=1).generate(IMAGE)
    assert {record["predicted_iou"] for record in everything} == {0.75}


def test_stability_is_the_ratio_of_areas_at_image_size() -> None:
    (record,) = generator(SHARP).generate(IMAGE)
    # Eight logits are one pixel of a disk of radius 24.
    assert record["stability_score"] == pytest.approx((23.875 / 24.125) ** 2, abs=0.02)
    (stricter,) = generator(SHARP, stability_score_offset=16, stability_score_thresh=0.5).generate(IMAGE)
    assert stricter["stability_score"] == pytest.approx((22 / 26) ** 2, abs=0.02)
    # One logit is ten pixels of a disk of radius 20.
    assert generator(SOFT).generate(IMAGE) == []
    (soft,) = generator(SOFT, stability_score_thresh=0.1).generate(IMAGE)
    assert soft["stability_score"] == pytest.approx((10 / 30) ** 2, abs=0.02)
    assert stability_score(np.full((3, 3), -2, np.float32), 1.0) == 0


def test_only_masks_of_good_predicted_iou_are_upsampled(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, ...]] = []
    resize = mask_generator.resize
    monkeypatch.setattr(mask_generator, "resize", lambda maps, *size: sizes.append(maps.shape) or resize(maps, *size))
    disks = Disks(SHARP)
    MaskGenerator(disks.networks(), points_per_side=8).generate(IMAGE)
    hits = sum(np.hypot(*(click - SHARP[0])) <= SHARP[1] for click in disks.clicks)
    assert len(sizes) == hits + 1
    assert len(disks.clicks) == 64


def test_a_single_mask_per_point_gives_way_to_the_best_where_it_is_not_stable() -> None:
    # The single mask is everything but the disk, with steep or very gentle edges; its predicted IoU is 0.3.
    settings = {"multimask_output": False, "pred_iou_thresh": 0.2, "stability_score_thresh": 0}
    (outside,) = generator(SHARP, **settings).generate(IMAGE)
    assert outside["predicted_iou"] == pytest.approx(0.3)
    assert outside["area"] == pytest.approx(HEIGHT * WIDTH - ellipse(SHARP).sum(), rel=0.02)
    (inside,) = generator((*SOFT[:2], 0.005, SOFT[3]), **settings).generate(IMAGE)
    assert inside["predicted_iou"] == pytest.approx(SOFT[3])


def test_small_holes_are_filled_on_request() -> None:
    (ring,) = generator(SHARP, hole=8.0).generate(IMAGE)
    hole = ellipse(SHARP).sum() - ring["area"]
    assert hole == pytest.approx(np.pi * 8**2 * (WIDTH / SIDE) * (HEIGHT / SIDE), rel=0.15)
    (kept,) = generator(SHARP, hole=8.0, min_mask_region_area=100).generate(IMAGE)
    assert kept["area"] == ring["area"]
    (filled,) = generator(SHARP, hole=8.0, min_mask_region_area=300).generate(IMAGE)
    holes = ndimage.binary_fill_holes(ring["segmentation"])
    assert np.array_equal(filled["segmentation"], holes)
    assert filled["area"] == holes.sum() > ring["area"]
    assert filled["bbox"] == ring["bbox"]


class Specked(Disks):
    """Clicks left of the centre also get a speck far from the disk, and a better score."""

    def decode(self, features: str, point_label: np.ndarray, points: np.ndarray, **mask: np.ndarray) -> dict[str, Any]:
        out = super().decode(features, point_label, points, **mask)
        if points[0, 0, 0] < self.disks[0][0][0] and out["iou"][0, 2] > 0.5:
            out["mask_logits"][0, 2, 29:31, 29:31] = 50
            out["iou"][0, 2] += 0.05
        return out


def test_masks_that_become_duplicates_by_cleaning_are_dropped_the_changed_ones_first() -> None:
    networks = Specked(SHARP).networks()
    specked, clean = MaskGenerator(networks, points_per_side=8).generate(IMAGE)
    assert len(regions(specked["segmentation"])) == 2 and len(regions(clean["segmentation"])) == 1
    assert specked["predicted_iou"] > clean["predicted_iou"]
    (only,) = MaskGenerator(networks, points_per_side=8, min_mask_region_area=200).generate(IMAGE)
    assert only["point_coords"] == clean["point_coords"]
    assert np.array_equal(only["segmentation"], clean["segmentation"])


def test_small_regions_are_those_below_the_area() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        mask = ndimage.gaussian_filter(rng.standard_normal((40, 50)), 1.5) > 0
        cleaned = without_small_regions(mask, 12)
        expected = mask.copy()
        for region in regions(~mask):
            if region.sum() < 12:
                expected |= region
        islands = [region for region in regions(expected) if region.sum() >= 12]
        assert np.array_equal(cleaned, np.any(islands, axis=0))
    dots = np.zeros((5, 9), bool)
    dots[1, 1] = dots[3, 5:8] = True
    assert np.array_equal(without_small_regions(dots, 3), dots & (np.arange(9) > 2))
    assert np.array_equal(without_small_regions(dots, 4), dots & (np.arange(9) > 2))
    assert not without_small_regions(np.zeros((5, 9), bool), 4).any()


def regions(mask: np.ndarray) -> list[np.ndarray]:
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    return [labels == label for label in range(1, count + 1)]


def test_boxes_are_suppressed_greedily() -> None:
    rng = np.random.default_rng(5)
    corner, size = rng.integers(0, 30, (60, 2)), rng.integers(0, 25, (60, 2))
    boxes = np.concatenate((corner, corner + size), 1)
    scores = rng.integers(0, 20, 60).astype(np.float32)  # with ties
    for threshold in (0.0, 0.3, 0.7, 1.0):
        kept: list[int] = []
        for i in sorted(range(60), key=lambda i: -scores[i]):
            if all(overlap(boxes[i], boxes[j]) <= threshold for j in kept):
                kept.append(i)
        assert box_nms(boxes, scores, threshold) == kept
    assert box_nms(np.zeros((0, 4), np.int64), np.zeros(0, np.float32), 0.5) == []


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union; 0 of boxes without area."""
    inner = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    union = (a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - inner
    return inner / union if union else 0.0


def test_masks_as_run_lengths() -> None:
    mask = np.array([[0, 1, 1], [0, 1, 0]], bool)
    assert run_lengths(mask) == [2, 3, 1]
    assert run_lengths(~mask) == [0, 2, 3, 1]
    assert run_lengths(np.ones((2, 2), bool)) == [0, 4]
    settings = {"points_per_side": 8}
    (plain,) = generator(SHARP, **settings).generate(IMAGE)
    (lengths,) = generator(SHARP, output_mode="uncompressed_rle", **settings).generate(IMAGE)
    (coco,) = generator(SHARP, output_mode="coco_rle", **settings).generate(IMAGE)
    assert lengths["segmentation"]["size"] == coco["segmentation"]["size"] == [HEIGHT, WIDTH]
    counts = lengths["segmentation"]["counts"]
    columns = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(WIDTH, HEIGHT)
    assert np.array_equal(columns.T, plain["segmentation"])
    assert coco["segmentation"]["counts"] == coco_string(counts)
    assert lengths["area"] == coco["area"] == plain["area"]


@pytest.mark.parametrize(
    ("counts", "text"),
    [  # what pycocotools makes of these counts
        ([2, 3, 1], "231"),
        ([0, 4], "04"),
        ([6], "6"),
        ([100, 7, 93, 9, 91, 700], "T37m22Nce0"),
        ([31, 32, 15, 16, 999906], "o0P1?@c^`n0"),
        ([0, 1, 1, 1, 1, 2048, 5, 1, 2], "01100oo14QPNM"),
    ],
)
def test_the_text_of_run_lengths_is_that_of_coco(counts: list[int], text: str) -> None:
    assert coco_string(counts) == text


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"points_per_side": 0}, "points_per_side should be a whole number of at least 1, found 0"),
        ({"points_per_side": 2.5}, "points_per_side should be a whole number of at least 1, found 2.5"),
        ({"points_per_side": True}, "points_per_side should be a whole number of at least 1, found True"),
        ({"pred_iou_thresh": 88}, "pred_iou_thresh should be between 0 and 1, found 88"),
        ({"pred_iou_thresh": None}, "pred_iou_thresh should be a number, found None"),
        ({"stability_score_thresh": -0.1}, "stability_score_thresh should be between 0 and 1, found -0.1"),
        ({"stability_score_offset": float("nan")}, "stability_score_offset should be at least 0, found nan"),
        ({"box_nms_thresh": "0.7"}, "box_nms_thresh should be a number, found '0.7'"),
        ({"min_mask_region_area": -1}, "min_mask_region_area should be a whole number of at least 0, found -1"),
        ({"output_mode": "png"}, "output_mode should be one of binary_mask, uncompressed_rle, coco_rle, found 'png'"),
    ],
)
def test_settings_out_of_range_are_said_in_a_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        MaskGenerator("no bundle is opened", **settings)
    assert str(caught.value) == sentence


def test_an_image_must_be_rgb() -> None:
    with pytest.raises(ValueError, match=r"a frame should have the shape \(H, W, 3\), found \(96, 160\)"):
        generator(SHARP).generate(IMAGE[..., 0])
