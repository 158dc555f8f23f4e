"""The mask generator: segment everything in a picture by prompting it with a grid of points."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graphs.bundle import DEFAULT, Bundle
from .frame_result import mask_boxes
from .image_predictor import ImagePredictor
from .mask_scores import box_nms, stability_score
from .networks import Networks
from .pipeline import Array
from .preprocess import Frame, check_frame
from .prompts import read_points
from .resize import resize
from .run_lengths import coco_string, run_lengths
from .small_regions import without_small_regions

OUTPUT_MODES = ("binary_mask", "uncompressed_rle", "coco_rle")
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Candidate:
    """A mask that passed the thresholds.

    low_res: (S/4, S/4) logits.  point: the click (x, y) in pixels of the image.  box: (4,) first column, first row,
    last column, last row of the mask at image size.  iou: predicted.  stability: of the logits at image size.
    """

    low_res: Array
    point: tuple[float, float]
    box: NDArray[np.int64]
    iou: float
    stability: float


class MaskGenerator:
    """Finds the masks of everything in an image, without prompts.  SAM's automatic mask generator without crops.

    Every point of a grid is a click; masks are kept by predicted IoU and stability, and of masks with nearly the same
    box the one with the highest predicted IoU.  Stability is measured at image size, as in SAM, so only masks of
    sufficient predicted IoU are brought to that size.  Different from SAM: a mask without a pixel is never kept.

    Args:
        bundle: name or folder of a bundle, or loaded networks.
        device: ``cpu`` or ``cuda``.
        variant: of the bundle's graphs, by default the best that the device runs.
        points_per_side: the grid has this many points along each side of the image.
        pred_iou_thresh: masks at or below this predicted IoU are dropped, 0..1; 0 drops none.
        stability_score_thresh: masks below this stability are dropped, 0..1.
        stability_score_offset: stability is area(logits > offset) / area(logits > -offset).
        box_nms_thresh: of two boxes with a larger intersection over union only one is kept, 0..1.
        min_mask_region_area: holes and islands with fewer pixels of the image than this are removed from the masks
            that are kept, after which the boxes are compared again, unchanged masks winning (SAM; SAM 2 cleans the
            low-resolution masks before it scores them).
        output_mode: ``binary_mask``, ``uncompressed_rle`` or ``coco_rle``.
        multimask_output: three masks per point; off, one.

    Raises:
        ValueError: a setting is out of its range.
        BundleError, DeviceError: see `Networks.open`.
    """

    def __init__(
        self,
        bundle: str | Path | Bundle | Networks = DEFAULT,
        device: str = "cpu",
        *,
        variant: str | None = None,
        points_per_side: int = 32,
        pred_iou_thresh: float = 0.8,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        box_nms_thresh: float = 0.7,
        min_mask_region_area: int = 0,
        output_mode: str = "binary_mask",
        multimask_output: bool = True,
    ) -> None:
        self.points_per_side = _whole("points_per_side", points_per_side, 1)
        self.pred_iou_thresh = _number("pred_iou_thresh", pred_iou_thresh, 1)
        self.stability_score_thresh = _number("stability_score_thresh", stability_score_thresh, 1)
        self.stability_score_offset = _number("stability_score_offset", stability_score_offset)
        self.box_nms_thresh = _number("box_nms_thresh", box_nms_thresh, 1)
        self.min_mask_region_area = _whole("min_mask_region_area", min_mask_region_area, 0)
        if output_mode not in OUTPUT_MODES:
            raise ValueError(f"output_mode should be one of {', '.join(OUTPUT_MODES)}, found {output_mode!r}")
        self.output_mode = output_mode
        self.multimask_output = multimask_output
        self.predictor = ImagePredictor(bundle, device, variant=variant)

    def generate(self, image: Frame) -> list[dict[str, Any]]:
        """The masks of an image, uint8 RGB (H, W, 3), by falling predicted IoU.

        Returns:
            A dict per mask, all coordinates in pixels of the image:
            segmentation: boolean (H, W), or with the other output modes a dict of ``size`` [H, W] and ``counts``.
            area: pixels of the mask.
            bbox: [x, y, width, height], where as in SAM the width is the last column minus the first one.
            predicted_iou: 0..1.
            point_coords: [[x, y]], the click.
            stability_score: 0..1.
            crop_box: [0, 0, W, H].

            With `min_mask_region_area`, masks that it changed come after the others.

        Raises:
            FrameError: another shape or dtype.
        """
        height, width, _ = check_frame(image).shape
        self.predictor.set_image(image)
        found = [candidate for point in self._grid(width, height) for candidate in self._at(point, width, height)]
        boxes = np.asarray([candidate.box for candidate in found], np.int64).reshape(-1, 4)
        ious = np.asarray([candidate.iou for candidate in found], np.float32)
        kept = [found[i] for i in box_nms(boxes, ious, self.box_nms_thresh)]
        masks = [resize(candidate.low_res, height, width) > 0 for candidate in kept]
        if self.min_mask_region_area and kept:
            kept, masks = self._cleaned(kept, masks)
        return [self._record(candidate, mask) for candidate, mask in zip(kept, masks, strict=True)]

    def _grid(self, width: int, height: int) -> Iterator[tuple[float, float]]:
        """The clicks (x, y) in pixels: centres of equal cells, row by row."""
        fractions = (np.arange(self.points_per_side) + 0.5) / self.points_per_side
        for y in fractions:
            for x in fractions:
                yield float(x * width), float(y * height)

    def _at(self, point: tuple[float, float], width: int, height: int) -> Iterator[Candidate]:
        """What a click finds, after both thresholds."""
        click = read_points([point], [1], None, width, height, self.predictor.segmenter.size)
        low_res, ious = self.predictor.low_res_masks(click, multimask_output=self.multimask_output)
        for mask, iou in zip(low_res, ious, strict=True):
            if self.pred_iou_thresh > 0 and iou <= self.pred_iou_thresh:
                continue
            logits = resize(mask, height, width)
            stability = stability_score(logits, self.stability_score_offset)
            inside = logits > 0
            if stability >= self.stability_score_thresh and inside.any():
                yield Candidate(mask.copy(), point, _box(inside), float(iou), stability)

    def _cleaned(self, kept: list[Candidate], masks: list[Mask]) -> tuple[list[Candidate], list[Mask]]:
        """Masks without small regions, and without those that are duplicates now."""
        cleaned = [without_small_regions(mask, self.min_mask_region_area) for mask in masks]
        same = [np.array_equal(before, after) for before, after in zip(masks, cleaned, strict=True)]
        boxes = np.asarray([_box(mask) for mask in cleaned])
        order = box_nms(boxes, np.asarray(same, np.float32), self.box_nms_thresh)
        return [kept[i] for i in order], [cleaned[i] for i in order]

    def _record(self, candidate: Candidate, mask: Mask) -> dict[str, Any]:
        height, width = mask.shape
        x0, y0, x1, y1 = _box(mask).tolist()
        segmentation: Mask | dict[str, Any] = mask
        if self.output_mode != "binary_mask":
            counts = run_lengths(mask)
            text = coco_string(counts) if self.output_mode == "coco_rle" else counts
            segmentation = {"size": [height, width], "counts": text}
        return {
            "segmentation": segmentation,
            "area": int(np.count_nonzero(mask)),
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "predicted_iou": candidate.iou,
            "point_coords": [list(candidate.point)],
            "stability_score": candidate.stability,
            "crop_box": [0, 0, width, height],
        }


def _box(mask: Mask) -> NDArray[np.int64]:
    """First column, first row, last column, last row of a mask that is not empty."""
    box: NDArray[np.int64] = mask_boxes(mask[None])[0] - np.asarray([0, 0, 1, 1])
    return box


def _number(name: str, value: float, most: float = math.inf) -> float:
    """A finite number from 0 to `most`."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise ValueError(f"{name} should be a number, found {value!r}")
    if not (0 <= value <= most and math.isfinite(value)):
        limits = "at least 0" if math.isinf(most) else f"between 0 and {most:g}"
        raise ValueError(f"{name} should be {limits}, found {value}")
    return float(value)


def _whole(name: str, value: int, least: int) -> int:
    """A whole number from `least` on."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} should be a whole number of at least {least}, found {value!r}")
    return int(value)
