"""Smooth motion of one thing through a clip: where it is, how large, how turned, at any time in frames."""

from dataclasses import dataclass

import numpy as np

SLOW = (0.08, 0.8)  # radians per frame, the range that rates are drawn from
QUICK = (0.25, 0.9)
BRIEF = (1.5, 3.0)


@dataclass(frozen=True)
class Swing:
    """A bounded smooth scalar of time that is 0 at t = 0: amplitude (sin(rate t + phase) - sin(phase))."""

    amplitude: float
    rate: float
    phase: float

    def at(self, time: float) -> float:
        return float(self.amplitude * (np.sin(self.rate * time + self.phase) - np.sin(self.phase)))

    @staticmethod
    def draw(rng: np.random.Generator, amplitude: float, rates: tuple[float, float] = SLOW) -> "Swing":
        """`rates`: least and most, in radians per frame."""
        rate = float(np.exp(rng.uniform(np.log(rates[0]), np.log(rates[1]))))
        return Swing(amplitude * rng.uniform(0.2, 1.0), rate, rng.uniform(0, 2 * np.pi))


@dataclass(frozen=True)
class Motion:
    """Translation in pixels, log scale, stretch and angle in radians, each a Swing around the start."""

    x: Swing
    y: Swing
    scale: Swing
    stretch: Swing
    angle: Swing

    @staticmethod
    def draw(
        rng: np.random.Generator, reach: float, zoom: float, turn: float, rates: tuple[float, float] = SLOW
    ) -> "Motion":
        """`reach`: largest translation amplitude in pixels; `zoom`: of the log scale; `turn`: radians."""
        calm = rng.uniform() < 0.1  # some things hardly move
        reach = reach * (0.05 if calm else rng.uniform(0.1, 1.0))
        return Motion(
            Swing.draw(rng, reach, rates),
            Swing.draw(rng, reach * rng.uniform(0.2, 1.0), rates),
            Swing.draw(rng, zoom, rates),
            Swing.draw(rng, zoom * 0.4, rates),
            Swing.draw(rng, turn, rates),
        )

    def matrix(self, time: float, centre: tuple[float, float]) -> np.ndarray:
        """3x3 matrix that moves frame pixels (x, y, 1) from their place at t = 0, turning about `centre`."""
        cos, sin = np.cos(self.angle.at(time)), np.sin(self.angle.at(time))
        zoom, stretch = np.exp(self.scale.at(time)), np.exp(self.stretch.at(time))
        linear = zoom * np.array([[cos, -sin], [sin, cos]]) @ np.diag([stretch, 1 / stretch])
        moved = np.array(centre) + np.array([self.x.at(time), self.y.at(time)])
        matrix = np.eye(3)
        matrix[:2, :2] = linear
        matrix[:2, 2] = moved - linear @ np.array(centre)
        return matrix


def placement(
    width: float, height: float, centre: tuple[float, float], size: tuple[float, float], angle: float
) -> np.ndarray:
    """3x3 matrix that lays a width x height picture onto the frame at `centre`, `size` pixels large."""
    cos, sin = np.cos(angle), np.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag([size[0] / width, size[1] / height])
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = np.array(centre) - linear @ (width / 2, height / 2)
    return matrix
