"""Photographs with object masks, as they lie on disk. Knows nothing about clips or models.

A folder holds `index.csv` (columns name, source, licence, split, width, height, n_objects),
`images/<name>.jpg` and `masks/<name>.png` (palette PNG: 0 background, 1..254 one object each, 255 ignored).
"""

import csv
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

SPLITS = ("train", "val")
SMALLEST_OBJECT = 400  # pixels of the source image; smaller cut-outs are only blur once enlarged
SMALLEST_SEEN = 48  # pixels; smaller ones are not asked for in the photograph itself either


@dataclass(frozen=True)
class MaskedImage:
    """One photograph: `image` uint8 RGB (H, W, 3), `mask` uint8 (H, W), `objects` numbers of those fit for cutting out.

    `visible`: those and smaller ones, fit to be asked for where they are.
    """

    name: str
    source: str
    image: np.ndarray
    mask: np.ndarray
    objects: tuple[int, ...]
    visible: tuple[int, ...] = ()


class BrokenImageError(ValueError):
    """A photograph or mask that cannot be read; the message is a sentence that names the file."""


def _pixels(path: Path, mode: str) -> np.ndarray:
    try:
        with Image.open(path) as picture:
            if mode == "mask":
                if picture.mode not in ("P", "L", "1"):
                    raise BrokenImageError(f"{path.name} is no palette mask but has mode {picture.mode}.")
                return np.array(picture.convert("L") if picture.mode == "1" else picture, dtype=np.uint8)
            return np.array(picture.convert(mode), dtype=np.uint8)
    except FileNotFoundError as error:
        raise BrokenImageError(f"{path.name} is missing.") from error
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, BrokenImageError):
            raise
        raise BrokenImageError(f"{path.name} cannot be read ({error}).") from error


def read_masked_image(root: Path, name: str, source: str = "") -> MaskedImage:
    """Reads one photograph and its mask; raises BrokenImageError with a sentence if either is unusable."""
    image = _pixels(root / "images" / f"{name}.jpg", "RGB")
    mask = _pixels(root / "masks" / f"{name}.png", "mask")
    if image.shape[:2] != mask.shape:
        raise BrokenImageError(f"{name}: the image is {image.shape[:2]} but its mask is {mask.shape} (H, W).")
    areas = np.bincount(mask.ravel(), minlength=256)[1:255]
    objects, visible = (tuple(map(int, np.flatnonzero(areas >= n) + 1)) for n in (SMALLEST_OBJECT, SMALLEST_SEEN))
    return MaskedImage(name, source, image, mask, objects, visible)


def load_images(root: Path | str, split: str) -> list[MaskedImage]:
    """All readable photographs of one split ("train" or "val"), in the order of index.csv.

    Unreadable ones are left out and counted in one warning. Raises FileNotFoundError without an index.csv and
    ValueError if nothing usable remains.
    """
    root = Path(root)
    if split not in SPLITS:
        raise ValueError(f"The split must be one of {', '.join(SPLITS)}, not {split!r}.")
    index = root / "index.csv"
    if not index.is_file():
        raise FileNotFoundError(f"The training data folder {root} has no index.csv.")
    with index.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = {"name", "source", "split"} - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{index} lacks the column(s) {', '.join(sorted(missing))}.")
        rows = [row for row in reader if row["split"] == split]
    images: list[MaskedImage] = []
    broken: list[str] = []
    for row in rows:
        try:
            images.append(read_masked_image(root, row["name"], row["source"]))
        except BrokenImageError as error:
            broken.append(str(error))
    if broken:
        warnings.warn(
            f"Left out {len(broken)} of {len(rows)} images of the {split} split that cannot be used; "
            f"the first: {broken[0]}",
            stacklevel=2,
        )
    if not any(image.objects for image in images):
        raise ValueError(f"The {split} split of {root} has no image with an object of {SMALLEST_OBJECT} pixels.")
    return images


CUT_OUT_SHARES = {"animals": 0.65, "COCO": 0.28, "mushrooms": 0.05, "DSB2018": 0.02}
STILL_SHARES = {"animals": 0.5, "COCO": 0.2, "mushrooms": 0.12, "DSB2018": 0.18}


def source_weights(images: Sequence[MaskedImage], shares: Mapping[str, float] = CUT_OUT_SHARES) -> np.ndarray:
    """Probability of drawing each image (N,), summing to 1; zero for images without a usable object.

    Each source gets a fixed share, so that 300 pictures of tiny nuclei do not outweigh 31 street scenes.
    """

    def share(source: str) -> float:
        return next((value for prefix, value in shares.items() if source.startswith(prefix)), 0.2)

    usable = [image for image in images if image.objects]
    counts: dict[str, int] = {}
    for image in usable:
        counts[image.source] = counts.get(image.source, 0) + 1
    weights = np.array([share(i.source) / counts[i.source] if i.objects else 0.0 for i in images])
    return weights / weights.sum()
