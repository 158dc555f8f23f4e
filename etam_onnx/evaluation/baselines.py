"""Two trackers that know nothing of objects, the floor any model has to clear.

Both take the annotation of each object on the first frame that shows it: one leaves it where it
is, the other carries it along with dense optical flow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .semi_supervised import separate
from .sequences import AnnotatedSequence

Mask = NDArray[np.bool_]


def copy_first_mask(sequence: AnnotatedSequence) -> Iterator[Mapping[int, Mask]]:
    """Object id -> mask (H, W) on every frame: each object stays where it was first annotated."""
    first = sequence.first_masks()
    masks: dict[int, Mask] = {}
    for frame in range(len(sequence.frame_names)):
        for object_id, mask in first.get(frame, {}).items():
            if not sequence.overlapping:
                masks = {other: earlier & ~mask for other, earlier in masks.items()}
            masks[object_id] = mask
        yield dict(masks)


def warp_by_flow(sequence: AnnotatedSequence) -> Iterator[Mapping[int, Mask]]:
    """Object id -> mask (H, W) on every frame: each object's mask is pulled along by DIS optical flow.

    Flow (Kroeger et al., ECCV 2016, medium preset, on greyscale) runs from each frame back to the
    one before and says where a pixel came from. Masks are warped bilinearly, stay fractional from
    frame to frame so that rounding does not add up, and count from one half upwards.

    Raises:
        RuntimeError: OpenCV is not installed.
    """
    try:
        import cv2
    except ModuleNotFoundError:
        raise RuntimeError("the optical flow baseline needs OpenCV: pip install 'etam-onnx[train]'") from None
    return _warped(sequence, cv2)


def _warped(sequence: AnnotatedSequence, cv2: Any) -> Iterator[Mapping[int, Mask]]:
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    first = sequence.first_masks()
    ys, xs = np.indices(sequence.size_hw, dtype=np.float32)
    coverage: dict[int, NDArray[np.float32]] = {}
    previous: NDArray[np.uint8] | None = None
    for frame, rgb_hw3 in enumerate(sequence.frames):
        grey = cv2.cvtColor(rgb_hw3, cv2.COLOR_RGB2GRAY)
        if previous is not None and coverage:
            flow_hw2 = method.calc(grey, previous, None)
            from_x, from_y = xs + flow_hw2[..., 0], ys + flow_hw2[..., 1]
            for object_id, mask in coverage.items():
                warped = cv2.remap(mask, from_x, from_y, cv2.INTER_LINEAR)
                coverage[object_id] = np.asarray(warped, dtype=np.float32)
        for object_id, annotated in first.get(frame, {}).items():
            coverage[object_id] = annotated.astype(np.float32)
        previous = grey
        if coverage:
            yield separate(list(coverage), np.stack(list(coverage.values())) - np.float32(0.5), sequence.overlapping)
        else:
            yield {}
