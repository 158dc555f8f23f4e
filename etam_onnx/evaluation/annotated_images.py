"""Pictures with object masks: palette PNG files with an index, or SA-1B's picture and JSON side by side.

palette   images/<name>.jpg   masks/<name>.png   index.csv with the columns name and split, and perhaps source
          (0 background, 255 to leave out, any other number an object)
sa-1b     <name>.jpg   <name>.json with annotations of run lengths
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..runtime.frames import PICTURES, read_picture
from ..runtime.label_maps import read_label_map
from ..runtime.run_lengths import CocoMask
from ..runtime.video import Frame
from .sequences import Annotation, annotation_of

ImageFormat = Literal["palette", "sa-1b"]
LEAVE_OUT = 255


@dataclass(frozen=True)
class AnnotatedImage:
    """A picture and where its masks are.  group: what its scores are also averaged over, such as its source."""

    name: str
    picture: Path
    truth: Path
    group: str = ""

    def files(self) -> list[Path]:
        """What its result depends on."""
        return [self.picture, self.truth]

    def read(self) -> Frame:
        """The picture, uint8 RGB (H, W, 3)."""
        return read_picture(self.picture)

    def annotation(self, size_hw: tuple[int, int]) -> Annotation:
        """Object number -> mask (H, W), and pixels to leave out.

        Raises:
            ValueError: the masks cannot be read or are not as large as the picture.
        """
        try:
            if self.truth.suffix == ".json":
                found = Annotation(dict(_sa1b_masks(self.truth)))
                shapes = {mask.shape for mask in found.masks.values()}
            else:
                labels = read_label_map(self.truth)
                found, shapes = annotation_of(labels, LEAVE_OUT), {labels.shape}
        except ValueError as error:
            raise ValueError(f"image {self.name}: {error}") from error
        for height, width in shapes - {size_hw}:
            raise ValueError(
                f"image {self.name}: a mask is {width}x{height} pixels, the picture {size_hw[1]}x{size_hw[0]}"
            )
        return found


def read_images(root: Path, split: str | None = None, names: list[str] | None = None) -> list[AnnotatedImage]:
    """Annotated pictures under a folder, sorted by name; none is opened yet.

    Args:
        root: a folder in one of the two layouts.
        split: only pictures of this split, by index.csv.
        names: only these, in this order.

    Raises:
        FileNotFoundError: the folder, a file or a named picture is missing, or nothing was found.
        ValueError: a split is asked for where nothing says which picture belongs to it, or two pictures are called
            alike.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder")
    if (root / "images").is_dir() and (root / "masks").is_dir():
        found = _palette_images(root, split)
    elif split is not None:
        raise ValueError(f"{root} has no index.csv, so nothing says which pictures are in the split {split}")
    else:
        pictures = _by_name(path for path in root.rglob("[!.]*") if path.with_suffix(".json").is_file())
        found = {name: AnnotatedImage(name, path, path.with_suffix(".json")) for name, path in pictures.items()}
    if not found:
        raise FileNotFoundError(
            f"{root} holds no annotated picture{f' of the split {split}' if split else ''}: expected images/, masks/ "
            "and index.csv, or pictures with a JSON file beside each"
        )
    if names is None:
        return [found[name] for name in sorted(found)]
    for name in names:
        if name not in found:
            raise FileNotFoundError(f"picture {name} is not in {root}")
    return [found[name] for name in names]


def _palette_images(root: Path, split: str | None) -> dict[str, AnnotatedImage]:
    rows = _index(root / "index.csv") if (root / "index.csv").is_file() else None
    if rows is None and split is not None:
        raise ValueError(f"{root} has no index.csv, so nothing says which pictures are in the split {split}")
    pictures = _by_name((root / "images").glob("[!.]*"))
    if rows is None:
        rows = {name: {} for name in pictures if (root / "masks" / f"{name}.png").is_file()}
    found = {}
    for name, row in rows.items():
        if split is not None and row.get("split") != split:
            continue
        truth = root / "masks" / f"{name}.png"
        if name not in pictures or not truth.is_file():
            raise FileNotFoundError(f"{root / 'index.csv'} names {name}, of which picture or mask is missing")
        found[name] = AnnotatedImage(name, pictures[name], truth, row.get("source") or "")
    return found


def _by_name(paths: Iterable[Path]) -> dict[str, Path]:
    """The pictures among some files by name, which is what tells their results apart."""
    found: dict[str, Path] = {}
    for path in sorted(paths):
        if path.suffix.lower() in PICTURES and (other := found.setdefault(path.stem, path)) != path:
            raise ValueError(f"two pictures are called {path.stem}: {other} and {path}")
    return found


def _index(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if rows and "name" not in rows[0]:
        raise ValueError(f"{path} has no column called name")
    return {row["name"]: row for row in rows}


def _sa1b_masks(path: Path) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    try:
        annotations = json.loads(path.read_text(encoding="utf-8"))["annotations"]
        segmentations = [entry["segmentation"] for entry in annotations]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} does not hold annotations with a segmentation each") from error
    for number, segmentation in enumerate(segmentations, 1):
        mask = CocoMask(segmentation).pixels()
        if mask.any():
            yield number, mask
