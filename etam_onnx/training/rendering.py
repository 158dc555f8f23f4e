"""Lays warped pictures over a frame. Every 3x3 matrix maps picture pixels (x, y, 1) to frame pixels."""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from .sprites import Sprite


@dataclass(frozen=True)
class Wave:
    """A travelling ripple of a picture: `amplitude` pixels of the picture, `waves` per picture side."""

    amplitude: float
    waves: tuple[float, float]
    phases: tuple[float, float]
    speed: float

    @staticmethod
    def draw(rng: np.random.Generator, side: float) -> "Wave":
        amplitude = side * rng.uniform(0.005, 0.035)
        waves = (rng.uniform(0.4, 1.6), rng.uniform(0.4, 1.6))
        phases = (rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi))
        return Wave(amplitude, waves, phases, rng.uniform(0.1, 0.9))

    def bend(self, x: np.ndarray, y: np.ndarray, width: int, height: int, time: float) -> tuple[np.ndarray, np.ndarray]:
        """How far right and down of (x, y), float32 arrays of picture pixels, the ripple reads instead."""
        turn = 2 * np.pi
        by_row = np.sin(np.float32(turn * self.waves[0] / height) * y + np.float32(self.phases[0] + self.speed * time))
        by_column = np.sin(
            np.float32(turn * self.waves[1] / width) * x + np.float32(self.phases[1] + self.speed * time)
        )
        return np.float32(self.amplitude) * by_row, np.float32(self.amplitude) * by_column


COARSE = 8  # smooth displacements are computed on every eighth pixel and enlarged


def enlarged(displacement: np.ndarray, width: int, height: int) -> np.ndarray:
    """A displacement field computed on the coarse grid, at (height, width)."""
    return cv2.resize(displacement, (width, height), interpolation=cv2.INTER_LINEAR)


def reading_grid(
    matrix: np.ndarray, left: int, top: int, width: int, height: int, coarse: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Picture coordinates (two float32 arrays) of a window of frame pixels, or of its coarse grid."""
    inverse = np.linalg.inv(matrix).astype(np.float32)
    columns, rows = (-(-width // COARSE), -(-height // COARSE)) if coarse else (width, height)
    x = (np.arange(columns, dtype=np.float32)[None, :] + 0.5) * np.float32(width / columns) + np.float32(left - 0.5)
    y = (np.arange(rows, dtype=np.float32)[:, None] + 0.5) * np.float32(height / rows) + np.float32(top - 0.5)
    return (
        inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2],
        inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2],
    )


def picture_places(matrix: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Picture coordinates of the frame pixels (x, y), any shape."""
    inverse = np.linalg.inv(matrix)
    return (
        inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2],
        inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2],
    )


def _window(sprite: Sprite, matrix: np.ndarray, size: int, spread: int) -> tuple[int, int, int, int] | None:
    corners = np.array([[0, sprite.width, sprite.width, 0], [0, 0, sprite.height, sprite.height], [1, 1, 1, 1]])
    x, y = (matrix @ corners)[:2]
    left, top = max(0, int(x.min()) - spread), max(0, int(y.min()) - spread)
    right, bottom = min(size, int(x.max()) + spread + 1), min(size, int(y.max()) + spread + 1)
    return (left, top, right - left, bottom - top) if right > left and bottom > top else None


class Laid(NamedTuple):
    """What a sprite covers of a frame: its `alpha` and that of its part, uint8 (S, S)."""

    alpha: np.ndarray
    part: np.ndarray | None


def lay_sprite(
    frame: np.ndarray,
    sprite: Sprite,
    matrix: np.ndarray,
    wave: Wave | None,
    time: float,
    streak: np.ndarray | None = None,
    opacity: float = 1.0,
) -> Laid:
    """Draws the sprite onto `frame` (uint8 RGB, S x S, changed in place).

    `streak` is a kernel of motion blur for the sprite alone; `opacity` below 1 makes it see-through.
    """
    size = frame.shape[0]
    spread = 3 if streak is None else 3 + streak.shape[0] // 2
    if wave is not None:
        spread += int(wave.amplitude * np.abs(matrix[:2, :2]).sum(axis=1).max()) + 1
    alpha = np.zeros((size, size), np.uint8)
    part = None if sprite.part is None else np.zeros((size, size), np.uint8)
    window = _window(sprite, matrix, size, spread)
    if window is None:
        return Laid(alpha, part)
    left, top, width, height = window
    inside = (slice(top, top + height), slice(left, left + width))
    warped = [sprite.rgba] if sprite.part is None else [sprite.rgba, sprite.part]
    if wave is None:
        placed = (np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]]) @ matrix)[:2]
        warped = [cv2.warpAffine(picture, placed, (width, height), flags=cv2.INTER_LINEAR) for picture in warped]
    else:
        x, y = reading_grid(matrix, left, top, width, height)
        coarse = reading_grid(matrix, left, top, width, height, coarse=True)
        right, down = wave.bend(*coarse, sprite.width, sprite.height, time)
        x, y = x + enlarged(right, width, height), y + enlarged(down, width, height)
        warped = [cv2.remap(w, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT) for w in warped]
    if streak is not None:
        warped = [cv2.filter2D(picture, -1, streak, borderType=cv2.BORDER_CONSTANT) for picture in warped]
    patch = warped[0]
    cover = cv2.merge([patch[..., 3]] * 3)
    colour = np.ascontiguousarray(patch[..., :3])
    if opacity < 1:
        cover, colour = cv2.convertScaleAbs(cover, alpha=opacity), cv2.convertScaleAbs(colour, alpha=opacity)
    frame[inside] = cv2.add(cv2.multiply(frame[inside], cv2.bitwise_not(cover), scale=1 / 255), colour)
    alpha[inside] = patch[..., 3]
    if part is not None:
        part[inside] = warped[1]
    return Laid(alpha, part)


def streak_kernel(x: float, y: float) -> np.ndarray | None:
    """Averaging kernel along a movement of (x, y) pixels; None if it is shorter than two pixels."""
    length = float(np.hypot(x, y))
    if length < 2:
        return None
    length = min(length, 15.0)
    side = int(length) | 1
    kernel = np.zeros((side, side), np.float32)
    middle = side // 2
    step = np.array([x, y]) / max(abs(x), abs(y)) * middle
    start, end = (middle - step).round().astype(int), (middle + step).round().astype(int)
    cv2.line(kernel, tuple(int(v) for v in start), tuple(int(v) for v in end), 1.0)
    return kernel / kernel.sum()


@dataclass(frozen=True)
class Look:
    """Colour of a whole clip: gain and offset per channel, gamma, saturation, noise and blur."""

    gain: np.ndarray
    offset: np.ndarray
    gamma: float
    saturation: float
    noise: float
    blur: float
    flicker: float

    @staticmethod
    def draw(rng: np.random.Generator) -> "Look":
        plain = rng.uniform() < 0.3
        strength = 0.0 if plain else 1.0
        return Look(
            gain=1 + strength * rng.uniform(-0.25, 0.25) + strength * rng.uniform(-0.1, 0.1, 3),
            offset=strength * (rng.uniform(-25, 25) + rng.uniform(-10, 10, 3)),
            gamma=float(np.exp(strength * rng.uniform(-0.35, 0.35))),
            saturation=0.0 if rng.uniform() < 0.05 else 1 + strength * float(rng.uniform(-0.5, 0.4)),
            noise=float(rng.uniform(1, 9)) if rng.uniform() < 0.2 else 0.0,
            blur=float(rng.uniform(0.4, 1.2)) if rng.uniform() < 0.2 else 0.0,
            flicker=0.03 * strength * float(rng.uniform()),
        )

    def apply(self, frame: np.ndarray, rng: np.random.Generator, light: np.ndarray | float = 1.0) -> np.ndarray:
        """uint8 RGB (S, S, 3) -> the same, recoloured; `light` (3,) multiplies red, green and blue."""
        steps = np.arange(256, dtype=np.float32)[:, None]
        gain = self.gain * light * (1 + self.flicker * rng.standard_normal())
        curve = 255 * (steps / 255) ** self.gamma * gain
        table = (curve + self.offset).clip(0, 255).astype(np.uint8)
        frame = cv2.LUT(frame, table.reshape(1, 256, 3))
        if abs(self.saturation - 1) > 0.02:
            grey = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
            frame = cv2.addWeighted(frame, self.saturation, grey, 1 - self.saturation, 0)
        if self.blur:
            frame = cv2.GaussianBlur(frame, (0, 0), self.blur)
        if self.noise:
            flat = frame.reshape(len(frame), -1)  # one channel: cv2 scalars would reach only the first of three
            noise = np.empty_like(flat)
            cv2.setRNGSeed(int(rng.integers(2**31)))
            cv2.randn(noise, 128, self.noise)
            frame = cv2.addWeighted(flat, 1, noise, 1, -128).reshape(frame.shape)
        return frame
