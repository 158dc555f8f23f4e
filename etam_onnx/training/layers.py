"""Sprites that move over a scene: where each one lies at any time, and how the frames show it."""

from dataclasses import dataclass, replace

import numpy as np

from .motion import QUICK, SLOW, Motion, placement
from .parts import draw_part
from .rendering import Laid, Wave, lay_sprite, picture_places
from .sprites import Album, Sprite, bar, shrunk

PATCH = 16  # pixels, of the image encoder
SEE_THROUGH_SHARE = 0.08  # of the occluders


@dataclass(frozen=True)
class Layer:
    """A sprite with its place on the frame at time 0 and its motion from there.

    `counted`: whether it is a thing that a clip may have a mask of. `opacity` below 1 hides nothing.
    """

    sprite: Sprite
    place: np.ndarray
    centre: tuple[float, float]
    motion: Motion
    wave: Wave | None
    opacity: float = 1.0
    counted: bool = True

    def matrix(self, time: float) -> np.ndarray:
        """3x3, from pixels of the sprite to those of a frame whose camera has not moved."""
        return np.asarray(self.motion.matrix(time, self.centre) @ self.place)

    def draw(self, frame: np.ndarray, camera: np.ndarray, time: float, streak: np.ndarray | None) -> Laid:
        """Draws the sprite onto `frame` (uint8 RGB, S x S, changed in place)."""
        return lay_sprite(frame, self.sprite, camera @ self.matrix(time), self.wave, time, streak, self.opacity)

    def show(self, surface: np.ndarray, number: int, camera: np.ndarray, time: float, covered: np.ndarray) -> None:
        """Enters the layer into `surface` (S / 16, S / 16, 3) at the patches whose middle is `covered` (S, S)."""
        rows, columns = np.nonzero(covered[PATCH // 2 :: PATCH, PATCH // 2 :: PATCH])
        if len(rows) == 0:
            return
        x, y = picture_places(camera @ self.matrix(time), *(PATCH * at + PATCH / 2 for at in (columns, rows)))
        if self.wave is not None:
            right, down = self.wave.bend(x, y, self.sprite.width, self.sprite.height, time)
            x, y = x + right, y + down
        surface[rows, columns] = placed(number, self.matrix(0), x, y)


def draw_layer(rng: np.random.Generator, sprite: Sprite, size: int, leaves: bool, with_part: bool = False) -> Layer:
    """A thing that moves about a frame of `size` pixels; one that `leaves` goes far and fast."""
    longest = size * float(np.exp(rng.uniform(np.log(0.2), np.log(0.85))))
    longest = min(longest, 2.0 * max(sprite.width, sprite.height) * max(1.0, size / 256))
    shape = np.array([sprite.width, sprite.height]) / max(sprite.width, sprite.height)
    squash = np.exp(rng.uniform(-0.2, 0.2))
    wide, high = longest * shape * (squash, 1 / squash)
    reach = size * (rng.uniform(0.7, 1.2) if leaves else 0.3)
    motion = Motion.draw(rng, reach, 0.35, 0.5, QUICK if leaves else SLOW)
    centre = (size * rng.uniform(0.12, 0.88), size * rng.uniform(0.12, 0.88))
    sprite = shrunk(sprite, 1.3 * wide, 1.3 * high)
    if rng.uniform() < 0.5:
        sprite = Sprite(np.ascontiguousarray(sprite.rgba[:, ::-1]))
    if with_part:
        sprite = replace(sprite, part=draw_part(rng, sprite.rgba[..., :3], sprite.rgba[..., 3]))
    place = placement(sprite.width, sprite.height, centre, (wide, high), rng.normal() * 0.25)
    wave = Wave.draw(rng, min(sprite.width, sprite.height)) if rng.uniform() < 0.5 else None
    return Layer(sprite, place, centre, motion, wave)


def draw_occluder(rng: np.random.Generator, album: Album, size: int) -> Layer:
    """Something that passes in front: a bar, which is no thing, or another cut-out or shape."""
    is_bar = bool(rng.uniform() < 0.5)
    if is_bar:
        sprite = bar(rng, album.draw_image(rng).image)
        wide, high = size * rng.uniform(0.04, 0.2), size * rng.uniform(0.8, 1.8)
    else:
        sprite = album.draw_sprite(rng, shapes=0.5)
        wide, high = size * rng.uniform(0.2, 0.5, 2)
    motion = Motion.draw(rng, size * rng.uniform(0.5, 1.2), 0.1, 0.2)
    centre = (size * rng.uniform(-0.1, 1.1), size * rng.uniform(0.1, 0.9))
    place = placement(sprite.width, sprite.height, centre, (wide, high), rng.normal() * 0.5)
    opacity = 0.6 if rng.uniform() < SEE_THROUGH_SHARE else 1.0
    return Layer(sprite, place, centre, motion, None, opacity, counted=opacity == 1.0 and not is_bar)


def placed(number: int, matrix: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """float32 (..., 3): `number` and the frame pixel where `matrix` lays picture pixels (x, y)."""
    across = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]
    down = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]
    return np.stack([np.full_like(across, number), across, down], axis=-1).astype(np.float32)
