"""SA-1B: `sa_N.jpg` beside `sa_N.json`, whose annotations hold the masks as compressed run lengths."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ...runtime.frames import read_picture
from ...runtime.run_lengths import CocoMask
from .footage import Footage, UnusableError, check_sizes

MOST_MASKS = 64  # per picture
LARGEST_SHARE = 0.9  # of the picture: SAM 2 leaves out larger masks (arXiv 2408.00714, appendix on training)


class SegmentedPicture:
    """One picture with its masks, as footage of one frame."""

    still = True

    def __init__(self, picture: Path) -> None:
        self.picture = picture
        try:
            with picture.with_suffix(".json").open(encoding="utf-8") as file:
                annotations = json.load(file)["annotations"]
            stored = [annotation["segmentation"] for annotation in annotations]
        except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise UnusableError(f"{picture.with_suffix('.json').name} has no annotations ({error})") from error
        masks = [CocoMask(one) for one in stored]
        if len({mask.size for mask in masks}) > 1:
            raise UnusableError("its masks have different sizes")
        self.masks = [mask for mask in masks if 0 < mask.area <= LARGEST_SHARE * mask.size[0] * mask.size[1]]
        if not self.masks:
            raise UnusableError("it has no mask of a fitting size")

    def __len__(self) -> int:
        return 1

    def frame(self, position: int) -> np.ndarray:
        return check_sizes(read_picture(self.picture), self.masks[0].size)

    def objects(self, position: int) -> Sequence[int]:
        return range(len(self.masks))

    def mask(self, position: int, number: int) -> np.ndarray:
        return self.masks[number].pixels()

    def close(self) -> None:
        pass


def find_pictures(root: Path) -> list[tuple[str, Callable[[], Footage]]]:
    """All pictures under `root` that have annotations beside them, by name."""
    pictures = sorted(path for path in root.rglob("sa_*.jpg") if path.with_suffix(".json").is_file())
    return [(picture.name, partial(SegmentedPicture, picture)) for picture in pictures]
