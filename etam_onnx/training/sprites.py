"""Things that can be laid over a picture: cut-out objects, textured shapes and bars. Drawn with OpenCV."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .images import MaskedImage, source_weights


@dataclass(frozen=True)
class Sprite:
    """Premultiplied RGBA uint8 (h, w, 4) with a transparent margin; `part` (h, w): 255 in a piece of it, if asked."""

    rgba: np.ndarray
    part: np.ndarray | None = None

    @property
    def height(self) -> int:
        return int(self.rgba.shape[0])

    @property
    def width(self) -> int:
        return int(self.rgba.shape[1])


def _premultiplied(rgb: np.ndarray, alpha: np.ndarray) -> Sprite:
    margin = 2
    rgb = cv2.copyMakeBorder(rgb, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    alpha = cv2.copyMakeBorder(alpha, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=0)
    colour = (rgb.astype(np.float32) * (alpha[..., None].astype(np.float32) / 255)).round().astype(np.uint8)
    return Sprite(np.dstack([colour, alpha]))


def cut_out(image: MaskedImage, number: int) -> Sprite:
    """The object with that number, cropped to its bounding box, edges slightly eroded and feathered."""
    alpha = (image.mask == number).astype(np.uint8) * 255
    x, y, width, height = cv2.boundingRect(alpha)
    alpha = alpha[y : y + height, x : x + width]
    alpha = cv2.copyMakeBorder(alpha, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    alpha = cv2.GaussianBlur(cv2.erode(alpha, np.ones((2, 2), np.uint8)), (3, 3), 0)[1:-1, 1:-1]
    return _premultiplied(image.image[y : y + height, x : x + width], alpha)


def shrunk(sprite: Sprite, width: float, height: float) -> Sprite:
    """The sprite no larger than `width` x `height` pixels (rounded up), so that later warps do not alias."""
    target = (max(4, int(np.ceil(width))), max(4, int(np.ceil(height))))
    if target[0] >= sprite.width or target[1] >= sprite.height:
        return sprite
    return Sprite(cv2.resize(sprite.rgba, target, interpolation=cv2.INTER_AREA))


def _texture(rng: np.random.Generator, side: int, photograph: np.ndarray) -> np.ndarray:
    kind = rng.uniform()
    base, other = rng.integers(0, 256, (2, 3)).astype(np.float32)
    if kind < 0.4:  # a piece of some photograph
        height, width = photograph.shape[:2]
        part = int(min(height, width) * rng.uniform(0.3, 0.8))
        top, left = rng.integers(0, height - part + 1), rng.integers(0, width - part + 1)
        return cv2.resize(photograph[top : top + part, left : left + part], (side, side))
    if kind < 0.6:  # stripes
        y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
        angle, waves = rng.uniform(0, np.pi), rng.uniform(2, 12)
        blend = 0.5 + 0.5 * np.sin(2 * np.pi * waves * (x * np.cos(angle) + y * np.sin(angle)))
    elif kind < 0.85:  # clouds
        grid = int(rng.integers(3, 16))
        blend = cv2.resize(rng.uniform(size=(grid, grid)).astype(np.float32), (side, side))
    else:  # plain with a gradient
        blend = np.tile(np.linspace(0, rng.uniform(0, 0.6), side, dtype=np.float32), (side, 1))
    return (base + (other - base) * blend[..., None]).clip(0, 255).astype(np.uint8)


def random_shape(rng: np.random.Generator, photograph: np.ndarray, side: int = 160) -> Sprite:
    """A smooth blob, polygon or ellipse with stripes, clouds, a gradient or a piece of `photograph`."""
    alpha = np.zeros((side, side), np.uint8)
    kind = rng.uniform()
    if kind < 0.25:
        axes = (int(side * rng.uniform(0.2, 0.48)), int(side * rng.uniform(0.2, 0.48)))
        cv2.ellipse(alpha, (side // 2, side // 2), axes, rng.uniform(0, 180), 0, 360, 255, -1, cv2.LINE_AA)
    else:
        corners = int(rng.integers(3, 9)) if kind < 0.55 else 48
        angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
        radius = np.full(corners, 0.34) + rng.uniform(-0.08, 0.12, corners)
        if kind >= 0.55:
            waves = range(1, 5)
            radius = 0.32 + sum(
                rng.uniform(0, 0.13 / k) * np.sin(k * angles + rng.uniform(0, 2 * np.pi)) for k in waves
            )
        points = side * (0.5 + np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=1))
        cv2.fillPoly(alpha, [points.round().astype(np.int32)], 255, cv2.LINE_AA)
    x, y, width, height = cv2.boundingRect(alpha)
    rgb = _texture(rng, side, photograph)
    return _premultiplied(rgb[y : y + height, x : x + width], alpha[y : y + height, x : x + width])


def bar(rng: np.random.Generator, photograph: np.ndarray) -> Sprite:
    """A long textured rectangle, such as a pole or a fence post that passes in front."""
    width = int(rng.integers(10, 40))
    rgb = np.ascontiguousarray(_texture(rng, 96, photograph)[:, :width])
    return _premultiplied(rgb, np.full((96, width), 255, np.uint8))


class Album:
    """The photographs that scenes are made of, drawn with the weights of their sources."""

    def __init__(self, images: Sequence[MaskedImage]) -> None:
        self.images = list(images)
        self.weights = source_weights(self.images)

    def draw_image(self, rng: np.random.Generator) -> MaskedImage:
        return self.images[int(rng.choice(len(self.images), p=self.weights))]

    def draw_sprite(self, rng: np.random.Generator, shapes: float) -> Sprite:
        """A cut-out object or, as often as the share `shapes` says, a textured shape."""
        image = self.draw_image(rng)
        if rng.uniform() < shapes:
            return random_shape(rng, image.image)
        return cut_out(image, int(rng.choice(image.objects)))
