"""Masks as run lengths, the way COCO stores them: column by column, starting with a run of background."""

from __future__ import annotations

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
