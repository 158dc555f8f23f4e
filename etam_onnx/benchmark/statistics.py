"""Numbers that stand for many: median, 95th percentile, mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True)
class Summary:
    """Milliseconds of `count` frames.  p95: 95 of 100 took at most this long (linear between two of them)."""

    count: int
    median_ms: float
    p95_ms: float
    mean_ms: float
    fastest_ms: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Summary:
        """Summarise durations in seconds.

        Raises:
            ValueError: there are none.
        """
        if not len(seconds):
            raise ValueError("there are no times to summarise")
        values = 1000 * np.asarray(seconds, np.float64)
        return cls(
            len(values),
            float(np.median(values)),
            float(np.percentile(values, 95)),
            float(values.mean()),
            float(values.min()),
        )

    def as_json(self) -> dict[str, float]:
        """The fields as plain JSON values."""
        return asdict(self)
