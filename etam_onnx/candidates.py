"""The masks that the decoder offered in a recorded clip: is an answer another one of them than was chosen then?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .graphs.vectors import StoredTensor, Vectors

Array = NDArray[np.float32]
DECODER = "mask_decoder"


@dataclass(frozen=True)
class OtherCandidate:
    """An answer for which another of the decoder's masks was chosen than in the recorded run.

    recorded, found: number of the mask, 0 for the single mask, above for its alternatives.  ious: what the recorded run
    predicted for the two.  agreement: share of mask pixels equal to that other mask.
    """

    frame: int
    obj_id: int
    recorded: int
    found: int
    ious: tuple[float, float]
    agreement: float

    @property
    def by_iou(self) -> bool:
        """Whether predicted IoU decides between the two; between the single mask and another its stability does."""
        return min(self.recorded, self.found) > 0

    def tie(self, iou_error: float) -> bool:
        """Whether predicted IoUs that are off by `iou_error` can turn the choice round, one up and one down."""
        return self.by_iou and 0 <= self.ious[0] - self.ious[1] <= 2 * iou_error


class RecordedCandidates:
    """Masks and their predicted IoU of every recorded call of the decoder."""

    def __init__(self, vectors: Vectors) -> None:
        decoded = [outputs for graph, _, outputs in vectors.calls() if graph == DECODER]
        self._calls = [(_array(outputs["mask_logits"])[0], _array(outputs["iou"]).reshape(-1)) for outputs in decoded]

    def other(
        self, frame: int, obj_id: int, recorded: Array, found: Array, least: float
    ) -> tuple[OtherCandidate, Array] | None:
        """What an answer is if it is another candidate than the recorded answer, and the logits of that candidate.

        Args:
            recorded: (S/4, S/4) logits of the answer then, and `found` now.
            least: share of mask pixels that must be equal to call two masks the same.
        """
        for masks, ious in self._calls:
            (chosen,) = np.nonzero([np.array_equal(mask, recorded) for mask in masks])
            if not len(chosen):
                continue
            agreements = [float(np.mean((mask > 0) == (found > 0))) for mask in masks]
            nearest = int(np.argmax(agreements))
            if agreements[nearest] < least or nearest in chosen:
                return None
            both = float(ious[chosen[0]]), float(ious[nearest])
            other = OtherCandidate(frame, obj_id, int(chosen[0]), nearest, both, agreements[nearest])
            return other, masks[nearest]
        return None


def _array(tensor: StoredTensor) -> Array:
    return np.frombuffer(tensor.data, np.dtype("<f4")).reshape(tensor.shape)
