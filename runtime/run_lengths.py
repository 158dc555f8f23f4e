"""Masks as run lengths, the way COCO stores them: column by column, starting with a run of background."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """Lengths of the runs of a (H, W) mask, background and mask in turn; the first is 0 if the mask starts inside."""
    columns = mask.T.reshape(-1)
    edges = np.flatnonzero(columns[1:] != columns[:-1]) + 1
    counts: list[int] = np.diff(np.concatenate(([0], edges, [columns.size]))).tolist()
    return [0, *counts] if columns[0] else counts


def coco_string(counts: list[int]) -> str:
    """Run lengths as COCO's text: from the fourth on differences to the run before last, in five-bit groups, lowest
    first, a sixth bit where more follow, each as the character 48 places further on.
    """
    text = []
    for i, count in enumerate(counts):
        rest = count - counts[i - 2] if i > 2 else count
        more = True
        while more:
            group, rest = rest & 31, rest >> 5
            more = rest != (-1 if group & 16 else 0)
            text.append(chr(48 + group + 32 * more))
    return "".join(text)


_ZERO = 48  # the character of a five-bit group 0; bit 5 says that more groups follow, bit 4 of the last is the sign


def lengths_of_text(text: str) -> NDArray[np.int64]:
    """Run lengths, int64, of a compressed text; the inverse of `coco_string`.

    Raises:
        ValueError: the text is not one.
    """
    groups = np.frombuffer(text.encode("ascii", "replace"), np.uint8).astype(np.int64) - _ZERO
    if len(groups) == 0 or groups.min() < 0 or groups.max() > 63 or groups[-1] & 32:
        raise ValueError("a mask's run lengths are no COCO text or are cut off")
    ends = np.flatnonzero((groups & 32) == 0)
    starts = np.concatenate(([0], ends[:-1] + 1))
    sizes = ends - starts + 1
    if sizes.max() > 8:
        raise ValueError("a mask's run lengths are too large")
    places = np.arange(len(groups)) - np.repeat(starts, sizes)
    lengths = np.add.reduceat((groups & 31) << (5 * places), starts)
    lengths -= np.where(groups[ends] & 16, np.left_shift(1, 5 * sizes), 0)
    # From the fourth on they are differences to the one before last.
    lengths[1::2] = np.cumsum(lengths[1::2])
    lengths[2::2] = np.cumsum(lengths[2::2])
    return lengths


class CocoMask:
    """One mask as it is stored; `pixels` decodes it.

    Attributes:
        size: (H, W).
        area: number of pixels inside.
    """

    def __init__(self, stored: Any) -> None:
        """`stored`: `{"size": [H, W], "counts": text or list}`. Raises ValueError for anything else."""
        try:
            height, width = (int(side) for side in stored["size"])
            counts = stored["counts"]
            counts = counts.decode("ascii") if isinstance(counts, bytes) else counts
            self.lengths = (
                lengths_of_text(counts) if isinstance(counts, str) else np.array(counts, np.int64).reshape(-1)
            )
        except (TypeError, KeyError, ValueError, OverflowError) as error:
            raise ValueError('a mask should be {"size": [H, W], "counts": run lengths or their text}') from error
        self.size = (height, width)
        if len(self.lengths) == 0 or self.lengths.min() < 0 or self.lengths.sum() != height * width:
            raise ValueError(f"runs of {self.lengths.sum()} pixels do not make a mask of {width}x{height}")
        self.area = int(self.lengths[1::2].sum())

    def pixels(self) -> NDArray[np.bool_]:
        """bool (H, W)."""
        inside = np.arange(len(self.lengths)) % 2 == 1
        return np.repeat(inside, self.lengths).reshape(self.size[1], self.size[0]).T
