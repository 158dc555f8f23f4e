"""Pieces of objects: what a user may mean by a click that does not mean the whole."""

import cv2
import numpy as np

SMALLEST_SHARE, LARGEST_SHARE = 0.12, 0.75  # of the object
TRIES = 4


def draw_part(rng: np.random.Generator, rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray | None:
    """uint8 (h, w), 255 in a connected piece of the object `alpha` > 127 of the picture `rgb` (h, w, 3).

    Either what has the colour of some point of it, or one side of a cut, or an ellipse. None where the tries
    gave no piece of a fitting size.
    """
    inside = alpha > 127
    rows, columns = np.nonzero(inside)
    if len(rows) == 0:
        return None
    extent = float(np.sqrt(len(rows)))
    for _ in range(TRIES):
        chosen = int(rng.integers(len(rows)))
        point = (int(columns[chosen]), int(rows[chosen]))
        kind = rng.uniform()
        if kind < 0.5:
            region = _alike(rgb, point, float(rng.uniform(15, 45)), extent)
        elif kind < 0.8:
            region = _side(inside.shape, point, float(rng.uniform(0, 2 * np.pi)))
        else:
            region = _ellipse(rng, inside.shape, point, extent)
        piece = _connected(region & inside, point)
        if SMALLEST_SHARE <= piece.sum() / len(rows) <= LARGEST_SHARE:
            return piece.astype(np.uint8) * 255
    return None


def _alike(rgb: np.ndarray, point: tuple[int, int], difference: float, extent: float) -> np.ndarray:
    smooth = cv2.GaussianBlur(rgb, (0, 0), max(1.0, 0.04 * extent))
    smooth = cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB).astype(np.float32)
    near = (np.linalg.norm(smooth - smooth[point[1], point[0]], axis=2) < difference).astype(np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (max(3, int(0.1 * extent) | 1),) * 2)
    return cv2.morphologyEx(cv2.morphologyEx(near, cv2.MORPH_CLOSE, disc), cv2.MORPH_OPEN, disc) > 0


def _side(shape: tuple[int, ...], point: tuple[int, int], angle: float) -> np.ndarray:
    y, x = np.ogrid[: shape[0], : shape[1]]
    return np.asarray((x - point[0]) * np.cos(angle) + (y - point[1]) * np.sin(angle) >= 0)


def _ellipse(rng: np.random.Generator, shape: tuple[int, ...], point: tuple[int, int], extent: float) -> np.ndarray:
    region = np.zeros(shape[:2], np.uint8)
    axes = tuple(max(2, int(extent * rng.uniform(0.2, 0.6))) for _ in range(2))
    cv2.ellipse(region, point, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    return region > 0


def _connected(region: np.ndarray, point: tuple[int, int]) -> np.ndarray:
    """The part of `region` that hangs together with `point` (x, y); empty where the point is outside."""
    _, labels = cv2.connectedComponents(region.astype(np.uint8))
    number = labels[point[1], point[0]]
    return (labels == number) if number else np.zeros_like(region)
