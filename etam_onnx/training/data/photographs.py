"""The folder of photographs with `index.csv`: single frames are photographs, longer clips synthetic."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from ..clips import Clip, ClipMaker
from ..images import STILL_SHARES, MaskedImage, source_weights
from .augmentation import Augmentation
from .footage import FootageSource

PAINTED_STILLS = 0.35
CHOICE = 0x7374696C  # keeps the choice of a source apart from what that source draws


class Photograph:
    """A masked image as footage of one frame."""

    still = True

    def __init__(self, image: MaskedImage) -> None:
        self.image = image

    def __len__(self) -> int:
        return 1

    def frame(self, position: int) -> np.ndarray:
        return self.image.image

    def objects(self, position: int) -> Sequence[int]:
        return self.image.visible

    def mask(self, position: int, number: int) -> np.ndarray:
        return np.asarray(self.image.mask == number)

    def close(self) -> None:
        pass


class Photographs:
    """Clips from `images`: of one time the photograph itself, of more a synthetic scene made from all of them.

    With an augmentation that varies stills, some of those are synthetic too.
    """

    def __init__(self, name: str, images: Sequence[MaskedImage], augmentation: Augmentation) -> None:
        usable = [image for image in images if image.objects]
        items = [(image.name, partial(Photograph, image)) for image in usable]
        self.stills = FootageSource(name, items, augmentation, chances=source_weights(usable, STILL_SHARES), still=True)
        self.painted = PAINTED_STILLS if augmentation.stills else 0.0
        self.scenes = ClipMaker(images)

    def make(self, seed: Sequence[int], size: int, times: Sequence[int], objects: int = 1) -> Clip:
        """See `ClipSource.make`."""
        painted = len(times) > 1 or np.random.default_rng([CHOICE, *seed]).uniform() < self.painted
        source = self.scenes if painted else self.stills
        return source.make(seed, size, times, objects)

    @property
    def skipped(self) -> int:
        """How many photographs could not be used, so far, in this process; broken ones are left out on opening."""
        return self.stills.skipped
