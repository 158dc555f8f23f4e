"""The image predictor: encode once, prompt many times; SAM's names and conventions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..graphs.bundle import DEFAULT, Bundle
from .errors import StateError
from .networks import Networks
from .pipeline import Array, Features
from .preprocess import Frame, check_frame, image_input
from .prompts import NO_POINTS, Points, padded, read_mask_logits, read_points
from .resize import resize
from .segmenter import Segmenter, pick_mask


class ImagePredictor:
    """Segments what is prompted in a single image.

    Args:
        bundle: name or folder of a bundle, or loaded networks.
        device: ``cpu`` or ``cuda``.
        variant: of the bundle's graphs, by default the best that the device runs.

    Raises:
        BundleError, DeviceError: see `Networks.open`.
    """

    def __init__(
        self, bundle: str | Path | Bundle | Networks = DEFAULT, device: str = "cpu", *, variant: str | None = None
    ) -> None:
        self.segmenter = Segmenter(Networks.open(bundle, device, variant=variant))
        self._size: tuple[int, int] | None = None
        self._features: Features | None = None

    def set_image(self, image: Frame) -> None:
        """Encode an image, uint8 RGB (H, W, 3); prompts refer to it until the next one.

        Raises:
            FrameError: another shape or dtype.
        """
        height, width, _ = check_frame(image).shape
        self._features = self.segmenter.encode(image_input(image, self.segmenter.size))
        self._size = (height, width)

    def predict(
        self,
        point_coords: ArrayLike | None = None,
        point_labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[NDArray[np.bool_] | NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Segment the image of the last `set_image`.

        Args:
            point_coords: (T, 2) pixels (x, y) of the image.
            point_labels: (T,): 1 on the object, 0 off it.
            box: (4,) as x0, y0, x1, y1 in pixels.
            mask_input: (1, S/4, S/4) or (S/4, S/4) logits, as the third result of an earlier call.
            multimask_output: three alternatives; off, the single mask, or the best alternative where it is not stable.
            return_logits: logits instead of booleans.

        Returns:
            Masks (M, H, W) at image size, predicted IoU (M,), low-resolution logits (M, S/4, S/4) clamped to +-32;
            M is 3 or 1.

        Raises:
            StateError: no image has been set.
            PromptError: a prompt is malformed or outside the image.
        """
        if self._size is None:
            raise StateError("there is no image yet: call set_image(image) first")
        height, width = self._size
        points = read_points(point_coords, point_labels, box, width, height, self.segmenter.size)
        side = self.segmenter.geometry.mask_size
        previous = None if mask_input is None else read_mask_logits(mask_input, side)
        low_res, ious = self.low_res_masks(points, previous, multimask_output)
        logits = resize(low_res, height, width)
        limit = self.segmenter.rules.mask_input_limit
        return logits if return_logits else logits > 0, ious, np.clip(low_res, -limit, limit)

    def low_res_masks(
        self, points: Points, previous: Array | None = None, multimask_output: bool = True
    ) -> tuple[Array, Array]:
        """What `predict` does before it brings masks to the size of the image.

        Args:
            points: in pixels of the square model input, without padding.
            previous: (S/4, S/4) logits of an earlier mask.
            multimask_output: as for `predict`.

        Returns:
            Low-resolution logits (M, S/4, S/4), not clamped, and predicted IoU (M,); M is 3 or 1.

        Raises:
            StateError: no image has been set.
        """
        if self._features is None:
            raise StateError("there is no image yet: call set_image(image) first")
        segmenter, rules = self.segmenter, self.segmenter.rules
        # Without points or box the original gives no prompt token at all, not even the padding point.
        prompt = padded(points) if len(points) else NO_POINTS
        out = segmenter.pipeline.answer(self._features, prompt, previous)
        chosen = slice(1, None)
        if not multimask_output:
            index = pick_mask(out.mask_logits, out.iou, False, rules.stability_delta, rules.stability_threshold)
            chosen = slice(index, index + 1)
        return out.mask_logits[chosen], out.iou[chosen].copy()
