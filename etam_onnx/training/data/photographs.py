"""The folder of photographs with `index.csv`: single frames as they are, longer clips synthetic."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from ..clips import Clip, ClipMaker
from ..images import MaskedImage, source_weights
from .augmentation import Augmentation
from .footage import FootageSource


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
        return self.image.objects

    def mask(self, position: int, number: int) -> np.ndarray:
        return np.asarray(self.image.mask == number)

    def close(self) -> None:
        pass


class Photographs:
    """Clips from `images`: of one time the photograph itself, of more a synthetic scene made from all of them."""

    def __init__(self, name: str, images: Sequence[MaskedImage], augmentation: Augmentation) -> None:
        usable = [image for image in images if image.objects]
        items = [(image.name, partial(Photograph, image)) for image in usable]
        self.stills = FootageSource(name, items, augmentation, chances=source_weights(usable), still=True)
        self.scenes = ClipMaker(images)

    def make(self, seed: Sequence[int], size: int, times: Sequence[int], objects: int = 1) -> Clip:
        """See `ClipSource.make`."""
        source = self.stills if len(times) == 1 else self.scenes
        return source.make(seed, size, times, objects)

    @property
    def skipped(self) -> int:
        """How many photographs could not be used, so far, in this process; broken ones are left out on opening."""
        return self.stills.skipped
