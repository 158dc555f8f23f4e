"""Label maps: one image per frame in which every pixel holds the id of its object, 0 for none.

On disk they are palette PNG files, as DAVIS, YouTube-VOS and LVOS distribute them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LabelMap: TypeAlias = NDArray[np.uint8]


def read_label_map(path: Path) -> LabelMap:
    """Read object ids (H, W), uint8, from a palette or greyscale image.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not an image with one id per pixel.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("P", "L", "1"):
                raise ValueError(f"{path} has mode {image.mode}; masks are palette or greyscale images")
            if image.mode == "1":
                return np.asarray(image).astype(np.uint8)
            return np.array(image, dtype=np.uint8)
    except FileNotFoundError:
        raise FileNotFoundError(f"mask {path} does not exist") from None
    except OSError as error:
        raise ValueError(f"mask {path} cannot be read: {error}") from error


def object_ids(labels: LabelMap) -> list[int]:
    """Ids that occur in a label map, ascending, without the background; gaps between them are fine."""
    return [int(object_id) for object_id in np.flatnonzero(np.bincount(labels.ravel(), minlength=256)) if object_id]
