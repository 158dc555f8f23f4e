"""A folder of training images that a test can write in a moment: noise photographs with two discs each."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 160, 120
DISCS = ((50, 50, 30), (115, 75, 26))  # x, y, radius in pixels


def write_painted_images(root: Path, count: int = 4) -> Path:
    """`index.csv`, `images/` and `masks/`; the last image is the validation split."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    rng = np.random.default_rng(11)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    with (root / "index.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "source", "licence", "split", "width", "height", "n_objects"])
        for number in range(count):
            image = rng.integers(0, 90, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            mask = np.zeros((HEIGHT, WIDTH), np.uint8)
            for value, (x, y, radius) in enumerate(DISCS, 1):
                inside = (columns - x - 4 * number) ** 2 + (rows - y) ** 2 <= radius**2
                mask[inside] = value
                image[inside] = (250, 60 * number, 100 * value)
            Image.fromarray(image).save(root / "images" / f"painted{number}.jpg", quality=95)
            palette = Image.fromarray(mask)
            palette.putpalette([level for index in range(256) for level in (index, 0, 0)])
            palette.save(root / "masks" / f"painted{number}.png")
            split = "val" if number == count - 1 else "train"
            writer.writerow([f"painted{number}", "painted", "CC0", split, WIDTH, HEIGHT, len(DISCS)])
    return root
