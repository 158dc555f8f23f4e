"""Clips, where they come from, and the synthetic ones: made from photographs with object masks, one seed one clip."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

from .images import MaskedImage
from .scene import Scene
from .sprites import Album

SMALLEST_START = 0.004  # of the frame: what must be visible of an object on the first frame
LARGEST_START = 0.7
ATTEMPTS = 100


@dataclass(frozen=True)
class Clip:
    """`frames` uint8 RGB (T, S, S, 3), `masks` bool (K, T, S, S), `times` in frames (T,).

    `masks` are the visible parts of K >= 1 objects, the first frame shows each of them; one may lie inside another.
    `surfaces` float32 (T, S / 16, S / 16, 3): what is seen at the middle of each 16-pixel patch: the number of
    the thing (0: the ground) and the pixel (x, y) where that point of it lay on the first frame, its ripple
    aside. Two patches of any frames show the same point where these agree. None where nobody knows: real videos.
    """

    frames: np.ndarray
    masks: np.ndarray
    surfaces: np.ndarray | None
    times: tuple[int, ...]


class ClipSource(Protocol):
    """Where clips come from. Equal arguments give equal clips."""

    def make(self, seed: Sequence[int], size: int, times: Sequence[int], objects: int) -> Clip:
        """The clip of that seed: `size` x `size` pixels at the given times, with at most `objects` objects.

        Raises ValueError for a request that makes no sense, see `check_request`.
        """
        ...


def check_request(size: int, times: Sequence[int], objects: int) -> None:
    """ValueError unless the times start at 0 and increase, and size and objects are positive."""
    if len(times) == 0 or times[0] != 0 or any(b <= a for a, b in pairwise(times)):
        raise ValueError(f"The times of a clip must start at 0 and increase, not {tuple(times)}.")
    if size < 1 or objects < 1:
        raise ValueError(f"A clip needs a positive size and at least one object, not {size} pixels and {objects}.")


class ClipMaker:
    """Makes clips from `images`. Cheap to copy into another process; holds no random state."""

    def __init__(self, images: Sequence[MaskedImage]) -> None:
        self.images = list(images)
        self.album = Album(self.images)

    def make(self, seed: Sequence[int], size: int, times: Sequence[int], objects: int = 1) -> Clip:
        """The target first, then other things of the scene; `objects` changes how many, not the frames.

        The same seed at other times shows the same scene: its masks at a time depend on that time alone.
        """
        check_request(size, times, objects)
        for attempt in range(ATTEMPTS):
            scene = Scene(self.album, np.random.default_rng([*seed, attempt]), size)
            first = scene.frame(times[0])
            shares = first.masks.mean((1, 2))
            shown = np.flatnonzero((shares >= SMALLEST_START) & (shares <= LARGEST_START))
            if len(shown) and shown[0] == 0:
                break
        else:
            raise ValueError(f"None of {ATTEMPTS} scenes of seed {list(seed)} shows its object on the first frame.")
        pictures = [first, *(scene.frame(time) for time in times[1:])]
        kept = shown[:objects]
        return Clip(
            np.stack([picture.frame for picture in pictures]),
            np.stack([picture.masks[kept] for picture in pictures], axis=1),
            np.stack([picture.surface for picture in pictures]),
            tuple(int(time) for time in times),
        )
