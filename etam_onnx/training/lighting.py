"""Light that changes during a clip: slow drift of brightness and colour, and a shadow that moves across."""

from dataclasses import dataclass

import cv2
import numpy as np

from .motion import Swing

DRIFT_SHARE = 0.3
SHADOW_SHARE = 0.12
COARSE = 16  # pixels per cell in which a shadow is computed


@dataclass(frozen=True)
class Shadow:
    """A soft dark band: `darkness` 0..1, `angle` of its normal, `start`, `width`, `softness` and `speed` in pixels."""

    darkness: float
    angle: float
    start: float
    width: float
    softness: float
    speed: float

    @staticmethod
    def draw(rng: np.random.Generator, size: int) -> "Shadow":
        return Shadow(
            darkness=float(rng.uniform(0.2, 0.65)),
            angle=float(rng.uniform(0, 2 * np.pi)),
            start=float(size * rng.uniform(-0.8, 0.5)),
            width=float(size * rng.uniform(0.2, 1.0)),
            softness=float(size * rng.uniform(0.02, 0.15)),
            speed=float(size * rng.uniform(0.0, 0.06)),
        )

    def field(self, size: int, time: float) -> np.ndarray:
        """uint8 (size, size): 255 in the light, less in the shadow."""
        cells = -(-size // COARSE)
        middle = (np.arange(cells, dtype=np.float32) + 0.5) * (size / cells) - size / 2
        across = middle[None, :] * np.cos(self.angle) + middle[:, None] * np.sin(self.angle)
        depth = across - (self.start + self.speed * time)
        inside = np.clip(depth / self.softness, 0, 1) * np.clip((self.width - depth) / self.softness, 0, 1)
        light = (255 * (1 - self.darkness * inside)).astype(np.uint8)
        return np.asarray(cv2.resize(light, (size, size), interpolation=cv2.INTER_LINEAR))


@dataclass(frozen=True)
class Lighting:
    """`brightness` and `warmth` are log gains over time, `shadow` darkens a part; each may be absent."""

    brightness: Swing | None
    warmth: Swing | None
    shadow: Shadow | None

    @staticmethod
    def draw(rng: np.random.Generator, size: int) -> "Lighting":
        drifts, shaded = rng.uniform() < DRIFT_SHARE, rng.uniform() < SHADOW_SHARE
        brightness = Swing.draw(rng, 0.25) if drifts else None
        warmth = Swing.draw(rng, 0.08) if drifts else None
        return Lighting(brightness, warmth, Shadow.draw(rng, size) if shaded else None)

    def gain(self, time: float) -> np.ndarray:
        """Factors (3,) of red, green and blue; ones at time 0."""
        bright = self.brightness.at(time) if self.brightness else 0.0
        warm = self.warmth.at(time) if self.warmth else 0.0
        return np.asarray(np.exp([bright + warm, bright, bright - warm]))

    def shade(self, frame: np.ndarray, time: float) -> np.ndarray:
        """uint8 RGB (S, S, 3) with the shadow on it."""
        if self.shadow is None:
            return frame
        light = self.shadow.field(frame.shape[0], time)
        return np.asarray(cv2.multiply(frame, cv2.merge([light] * 3), scale=1 / 255))
