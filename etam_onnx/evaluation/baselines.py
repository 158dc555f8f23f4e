"""Two trackers that know nothing of objects, the floor any model has to clear.

Both take the annotation of each object on the first frame that shows it: one leaves it where it
is, the other carries it along with dense optical flow.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .label_maps import LabelMap
from .overlaps import Ownership
from .sequences import AnnotatedSequence


def copy_first_mask(sequence: AnnotatedSequence) -> Iterator[LabelMap]:
    """Label map (H, W) of every frame: each object stays where it was first annotated."""
    labels = np.zeros(sequence.size_hw, dtype=np.uint8)
    first = sequence.first_masks()
    for frame in range(len(sequence.frames)):
        for object_id, mask in first.get(frame, {}).items():
            labels[mask] = object_id
        yield labels.copy()


def warp_by_flow(sequence: AnnotatedSequence) -> Iterator[LabelMap]:
    """Label map (H, W) of every frame: each object's mask is pulled along by DIS optical flow.

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


def _warped(sequence: AnnotatedSequence, cv2: Any) -> Iterator[LabelMap]:
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    first = sequence.first_masks()
    size_hw = sequence.size_hw
    ys, xs = np.indices(size_hw, dtype=np.float32)
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
        ownership = Ownership(size_hw, threshold=0.5)
        ownership.add(list(coverage), list(coverage.values()))
        yield ownership.labels
