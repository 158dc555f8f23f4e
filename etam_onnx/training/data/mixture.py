"""Several sources of clips as one, each drawn as often as its weight says."""

from collections.abc import Sequence

import numpy as np

from ..clips import Clip, ClipSource

CHOICE = 0x6D6978  # keeps the choice of a source apart from what that source draws


class Mixture:
    """Draws the source of a clip from its seed alone, then the clip from that source by the same seed."""

    def __init__(self, sources: Sequence[tuple[ClipSource, float]], apart: bool = False) -> None:
        """Sources with their weights, which need not sum to 1. Raises ValueError if no weight is positive.

        `apart`: clips of one frame come from pictures alone and longer ones from videos alone, as long as some source
        has them; weights then compare sources of one kind.
        """
        if not sources:
            raise ValueError("A mixture needs at least one source of clips.")
        self.sources = [source for source, _ in sources]
        shares = np.array([weight for _, weight in sources], float)
        if not np.isfinite(shares).all() or shares.min() < 0 or shares.sum() == 0:
            raise ValueError(f"The weights of a mixture must be positive numbers, not {shares.tolist()}.")
        self.weights = shares / shares.sum()
        self.apart = apart

    def weights_for(self, frames: int) -> np.ndarray:
        """The chance of each source to give a clip of so many frames."""
        kinds = [getattr(source, "still", None) for source in self.sources]  # None: gives both
        fitting = np.array([not self.apart or kind is None or kind == (frames == 1) for kind in kinds])
        weights = np.where(fitting, self.weights, 0.0)
        return weights / weights.sum() if weights.any() else self.weights

    def make(self, seed: Sequence[int], size: int, times: Sequence[int], objects: int = 1) -> Clip:
        """See `ClipSource.make`."""
        rng = np.random.default_rng([CHOICE, *seed])
        source = self.sources[int(rng.choice(len(self.sources), p=self.weights_for(len(times))))]
        return source.make(seed, size, times, objects)

    @property
    def skipped(self) -> int:
        """How many items the sources could not use, so far, in this process."""
        return sum(int(getattr(source, "skipped", 0)) for source in self.sources)
