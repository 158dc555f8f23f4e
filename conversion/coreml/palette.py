"""The best few numbers to stand for many: k-means in one dimension, the same on every machine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Ranks = NDArray[np.intp]
ROUNDS = 300
BINS = 256


def palette(values: NDArray[np.floating], bits: int) -> tuple[NDArray[np.floating], NDArray[np.uint8]]:
    """Up to ``2 ** bits`` numbers, ascending, and for each value, in C order, the index of the nearest.

    Numbers that are left over repeat the last one.
    """
    flat = np.asarray(values, np.float64).reshape(-1)
    count = 1 << bits
    distinct = np.unique(flat)
    if len(distinct) <= count:
        centres = np.concatenate((distinct, np.full(count - len(distinct), distinct[-1])))
    else:
        centres = _Sorted.of(flat).centres(count)
    stored = centres.astype(np.asarray(values).dtype)
    wide = stored.astype(np.float64)
    return stored, np.searchsorted((wide[1:] + wide[:-1]) / 2, flat).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class _Sorted:
    """Values in order, where a group is a range of ranks; running sums of them and of their squares."""

    values: Doubles
    sums: Doubles
    squares: Doubles

    @classmethod
    def of(cls, values: Doubles) -> _Sorted:
        ordered = np.sort(values)
        ordered_from_mean = ordered - ordered.mean()  # keeps the digits of differences of sums
        sums, squares = (np.concatenate(([0.0], np.cumsum(x))) for x in (ordered_from_mean, ordered_from_mean**2))
        return cls(ordered, sums, squares)

    def centres(self, count: int) -> Doubles:
        """Means of groups: Lloyd's iteration, and as long as it pays, a group split in two for two that become one."""
        groups = self._settled(self._start(count))
        for _ in range(ROUNDS):
            other = self._settled(self._exchanged(groups))
            if not self._cost(other[:-1], other[1:]).sum() < self._cost(groups[:-1], groups[1:]).sum():
                break
            groups = other
        return self._means(groups)

    def _start(self, count: int) -> Ranks:
        """Centres as dense as the cube root of the values' density: best for many (Panter and Dite, 1951)."""
        edges = np.linspace(self.values[0], self.values[-1], BINS + 1)
        counts = np.pad(np.histogram(self.values, edges)[0].astype(np.float64), 2, "edge")
        below = np.concatenate(([0.0], np.cumsum(np.cbrt(np.convolve(counts, np.ones(5), "valid")))))
        return self._between(np.interp((np.arange(count) + 0.5) / count * below[-1], below, edges))

    def _between(self, centres: Doubles) -> Ranks:
        """Bounds of the ranges of what is nearest to each centre, the ends included."""
        inner = np.searchsorted(self.values, (centres[1:] + centres[:-1]) / 2)
        return np.concatenate(([0], inner, [len(self.values)]))

    def _means(self, groups: Ranks) -> Doubles:
        """An empty group's is the value that it lies before."""
        sizes = np.diff(groups)
        means = np.diff(self.sums[groups]) / np.maximum(sizes, 1) + self.values.mean()
        return np.where(sizes > 0, means, self.values[np.minimum(groups[:-1], len(self.values) - 1)])

    def _settled(self, groups: Ranks) -> Ranks:
        for _ in range(ROUNDS):
            moved = self._between(np.sort(self._means(groups)))
            if np.array_equal(moved, groups):
                break
            groups = moved
        return groups

    def _cost(self, first: Ranks, end: Ranks) -> Doubles:
        """Squared distances to the mean, summed over each range."""
        sums = self.sums[end] - self.sums[first]
        return self.squares[end] - self.squares[first] - sums * sums / np.maximum(end - first, 1)

    def _exchanged(self, groups: Ranks) -> Ranks:
        """The group that gains most is split at its mean, the two neighbours that lose least become one."""
        first, end = groups[:-1], groups[1:]
        middle = np.clip(np.searchsorted(self.values, self._means(groups)), first, end)
        gains = self._cost(first, end) - self._cost(first, middle) - self._cost(middle, end)
        split = int(gains.argmax())
        losses = self._cost(groups[:-2], groups[2:]) - self._cost(groups[:-2], groups[1:-1])
        losses -= self._cost(groups[1:-1], groups[2:])
        losses[max(split - 1, 0) : split + 1] = np.inf
        return np.sort(np.append(np.delete(groups, int(losses.argmin()) + 1), middle[split]))
