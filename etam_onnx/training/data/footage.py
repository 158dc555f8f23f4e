"""Annotated pictures and videos, and clips cut from them. Knows no format and no model."""

import warnings
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from av.error import FFmpegError

from ..clips import Clip, check_request
from ..motion import Motion
from .augmentation import Augmentation, Variation

ATTEMPTS = 64  # items tried for one clip
STARTS = 4  # places tried in one video
SMALLEST_SHOWN = 32  # pixels of the clip's first frame; less than two cells of the mask is nothing to ask for
STILL_CAMERA = (0.08, 0.1, 0.1)  # reach, of the frame, zoom and turn of the camera over a still picture


class UnusableError(ValueError):
    """An item that gives no clip; the message is a clause or a sentence that says why."""


class Footage(Protocol):
    """One opened item. Frames are numbered by `position` among the annotated ones; ids are the format's own."""

    still: bool

    def __len__(self) -> int: ...

    def frame(self, position: int) -> np.ndarray:
        """uint8 RGB (H, W, 3)."""
        ...

    def objects(self, position: int) -> Sequence[int]:
        """Objects with at least one pixel there, ascending."""
        ...

    def mask(self, position: int, number: int) -> np.ndarray:
        """bool (H, W); empty where the object is not seen."""
        ...

    def close(self) -> None: ...


class FootageSource:
    """Clips from items of one data set; an item that cannot be used is counted, and another one drawn.

    Attributes:
        items: a name and a function that opens it, for each.
        still: whether the items are pictures; else they are videos.
        skipped: how many items were drawn and could not be used, so far, in this process.
    """

    def __init__(
        self,
        name: str,
        items: Sequence[tuple[str, Callable[[], Footage]]],
        augmentation: Augmentation,
        most_objects: int | None = None,
        chances: Sequence[float] | np.ndarray | None = None,
        still: bool = False,
    ) -> None:
        """`most_objects`: never more than these in one clip, whatever is asked for. `chances`: of each item, with
        sum 1; None: all alike."""
        self.name, self.items, self.augmentation, self.most_objects = name, list(items), augmentation, most_objects
        self.chances, self.still = chances, still
        self.skipped = 0
        if not self.items:
            raise ValueError(f"{name} holds nothing to train on.")

    def make(self, seed: Sequence[int], size: int, times: Sequence[int], objects: int = 1) -> Clip:
        """A clip whose `times` count annotated frames from a random one, forwards or backwards.

        A still picture is seen through a camera that moves a little. Raises ValueError after too many unusable items.
        """
        check_request(size, times, objects)
        objects, reason = min(objects, self.most_objects or objects), ""
        for attempt in range(ATTEMPTS):
            rng = np.random.default_rng([*seed, attempt])
            name, opened = self.items[int(rng.choice(len(self.items), p=self.chances))]
            try:
                footage = opened()
                try:
                    return self._cut(footage, rng, size, times, objects)
                finally:
                    footage.close()
            except (ValueError, OSError, EOFError, SyntaxError, FFmpegError) as error:
                reason = f"{name}: {error}"
                self._skip(reason)
        raise ValueError(f"None of {ATTEMPTS} items drawn from {self.name} could be used; the last: {reason}.")

    def _skip(self, reason: str) -> None:
        self.skipped += 1
        if str(self.skipped).rstrip("0") == "1":  # the first, tenth, hundredth ...
            times = "once" if self.skipped == 1 else f"{self.skipped} times"
            warnings.warn(f"{self.name}: an item could not be used, {times} so far; {reason}", stacklevel=3)

    def _cut(self, footage: Footage, rng: np.random.Generator, size: int, times: Sequence[int], objects: int) -> Clip:
        positions = self._positions(footage, rng, times)
        strengths = self.augmentation if len(times) > 1 else self.augmentation.of_single_frames()
        drawn = strengths.draw(rng)
        cameras = _cameras(rng, times, size) if footage.still else [None] * len(times)
        candidates = [int(number) for number in rng.permutation(footage.objects(positions[0]))]
        # An affine that loses every object is left out; SAM 2 leaves out one that loses any.
        for variation in (drawn, _upright(drawn)):
            first: dict[int, np.ndarray] = {}
            for number in candidates:
                mask = variation.mask(footage.mask(positions[0], number), size, cameras[0])
                if mask.sum() >= SMALLEST_SHOWN:
                    first[number] = mask
                if len(first) == objects:
                    break
            if first:
                break
        else:
            raise UnusableError("no object is large enough on the frame drawn")
        frames, masks = [], [list(first.values())]
        for index, (position, camera) in enumerate(zip(positions, cameras, strict=True)):
            rgb = footage.frame(position)
            factors = strengths.frame_jitter.draw(rng)
            frames.append(variation.frame(rgb, size, camera, factors))
            if index > 0:
                masks.append([variation.mask(footage.mask(position, number), size, camera) for number in first])
        stacked = np.ascontiguousarray(np.array(masks).swapaxes(0, 1))
        return Clip(np.stack(frames), stacked, None, tuple(int(time) for time in times))

    def _positions(self, footage: Footage, rng: np.random.Generator, times: Sequence[int]) -> list[int]:
        """Annotated frames of the clip, the first of which shows something."""
        if footage.still:
            return [0] * len(times)
        last = times[-1]
        if len(footage) <= last:
            raise UnusableError(f"it has {len(footage)} annotated frames, the clip needs {last + 1}")
        for _ in range(STARTS):
            start = int(rng.integers(len(footage) - last))
            backwards = rng.uniform() < self.augmentation.backwards
            positions = [start + (last - time if backwards else time) for time in times]
            if len(footage.objects(positions[0])):
                return positions
        raise UnusableError(f"none of {STARTS} frames drawn shows an object")


def check_sizes(frame: np.ndarray, mask_size: tuple[int, ...]) -> np.ndarray:
    """`frame` if it is as large as the masks (H, W), else UnusableError."""
    if frame.shape[:2] != tuple(mask_size):
        raise UnusableError(
            f"a frame is {frame.shape[1]}x{frame.shape[0]} pixels, its masks are {mask_size[1]}x{mask_size[0]}"
        )
    return frame


def _upright(variation: Variation) -> Variation:
    return Variation(variation.flip, 0.0, 0.0, variation.factors, variation.grey)


def _cameras(rng: np.random.Generator, times: Sequence[int], size: int) -> list[np.ndarray | None]:
    """None at time 0, then the way a camera over a still picture has moved it."""
    reach, zoom, turn = STILL_CAMERA
    motion = Motion.draw(rng, reach * size, zoom, turn)
    return [None if time == 0 else motion.matrix(time, (size / 2, size / 2)) for time in times]
