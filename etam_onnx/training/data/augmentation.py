"""How a real clip is varied: one drawing per clip, the same on every frame, as EfficientTAM's training does.

Flip, then affine about the middle at the frame's own proportions, then resize to a square, then colours.
"""

from dataclasses import dataclass, field, replace

import cv2
import numpy as np

FILL = (123.0, 116.0, 103.0)  # where the affine shows what lies outside: the mean colour of photographs
LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Jitter:
    """Largest relative changes of brightness, contrast and saturation; each factor is uniform in 1 +- that."""

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    def draw(self, rng: np.random.Generator) -> tuple[float, float, float]:
        """Factors of brightness, contrast and saturation."""
        bright, contrast, saturation = (
            float(1 + amount * rng.uniform(-1, 1)) for amount in (self.brightness, self.contrast, self.saturation)
        )
        return bright, contrast, saturation


@dataclass(frozen=True)
class Augmentation:
    """Strengths. The defaults are those of EfficientTAM for video (arXiv 2411.18933, section 4.1).

    `flip`, `grey` and `backwards` (in time; SAM 2's, arXiv 2408.00714, section C.2.2) are chances per clip; `degrees`
    is the largest rotation, `shear` the largest angle of the horizontal shear, in degrees. `frame_jitter` is drawn for
    each frame: none here, while SAM 2 has (0.1, 0.05, 0.05). `zoom`: up to so many times enlarged, about any point.
    `stills`: single frames are varied as well.
    """

    flip: float = 0.5
    degrees: float = 25.0
    shear: float = 20.0
    jitter: Jitter = field(default_factory=lambda: Jitter(0.1, 0.03, 0.03))
    frame_jitter: Jitter = field(default_factory=Jitter)
    grey: float = 0.05
    backwards: float = 0.5
    zoom: float = 1.0
    stills: bool = False

    def of_single_frames(self) -> "Augmentation":
        """Single frames are flipped and nothing else, as in both papers, unless `stills`."""
        if self.stills:
            return self
        return replace(PLAIN, flip=self.flip)

    def draw(self, rng: np.random.Generator) -> "Variation":
        """What one clip looks like."""
        return Variation(
            flip=bool(rng.uniform() < self.flip),
            angle=float(np.deg2rad(self.degrees * rng.uniform(-1, 1))),
            shear=float(np.deg2rad(self.shear * rng.uniform(-1, 1))),
            factors=self.jitter.draw(rng),
            grey=bool(rng.uniform() < self.grey),
            zoom=float(self.zoom ** rng.uniform()) if self.zoom > 1 else 1.0,
            about=(float(rng.uniform()), float(rng.uniform())) if self.zoom > 1 else (0.5, 0.5),
        )


PLAIN = Augmentation(flip=0.0, degrees=0.0, shear=0.0, jitter=Jitter(), grey=0.0, backwards=0.0)
STRONG = Augmentation(degrees=15.0, shear=10.0, jitter=Jitter(0.3, 0.2, 0.3), zoom=2.0, stills=True)  # for little data
AUGMENTATIONS = {"none": PLAIN, "paper": Augmentation(), "strong": STRONG}


@dataclass(frozen=True)
class Variation:
    """One drawing: `angle` and `shear` in radians, `factors` of brightness, contrast, saturation."""

    flip: bool
    angle: float
    shear: float
    factors: tuple[float, float, float]
    grey: bool
    zoom: float = 1.0
    about: tuple[float, float] = (0.5, 0.5)  # shares of the square

    def matrix(self, width: int, height: int, size: int) -> np.ndarray:
        """3x3, from points (x, y, 1) of a width x height frame to points of the square; (0, 0) is the corner."""
        cos, sin, slope = np.cos(self.angle), np.sin(self.angle), np.tan(self.shear)
        linear = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1, -slope], [0, 1]])
        linear = linear @ np.diag([-1.0 if self.flip else 1.0, 1.0])
        centre = np.array([width / 2, height / 2])
        matrix = np.eye(3)
        matrix[:2, :2], matrix[:2, 2] = linear, centre - linear @ centre
        matrix = np.diag([size / width, size / height, 1.0]) @ matrix
        closer = np.diag([self.zoom, self.zoom, 1.0])
        closer[:2, 2] = (1 - self.zoom) * size * np.array(self.about)
        return closer @ matrix

    def frame(self, rgb: np.ndarray, size: int, camera: np.ndarray | None, factors: tuple[float, ...]) -> np.ndarray:
        """uint8 RGB (H, W, 3) -> (size, size, 3). `camera` moves the square; `factors` are those of this frame."""
        frame = _warped(rgb, self.matrix(rgb.shape[1], rgb.shape[0], size), size, camera, FILL)
        bright, contrast, saturation = (a * b for a, b in zip(self.factors, factors, strict=True))
        return recoloured(frame, bright, contrast, 0.0 if self.grey else saturation)

    def mask(self, mask: np.ndarray, size: int, camera: np.ndarray | None) -> np.ndarray:
        """bool (H, W) -> bool (size, size)."""
        picture = mask.astype(np.uint8) * 255
        warped = _warped(picture, self.matrix(mask.shape[1], mask.shape[0], size), size, camera, (0.0,) * 3)
        return np.asarray(warped > 127)


def recoloured(frame: np.ndarray, brightness: float, contrast: float, saturation: float) -> np.ndarray:
    """uint8 RGB with its light, its distance from its mean grey and that from grey multiplied, in this order."""
    if (brightness, contrast, saturation) == (1.0, 1.0, 1.0):
        return frame
    mean = float(LUMA @ np.array(cv2.mean(frame)[:3])) * brightness
    mixing = saturation * np.eye(3) + (1 - saturation) * np.tile(LUMA, (3, 1))
    table = np.column_stack([brightness * contrast * mixing, np.full(3, (1 - contrast) * mean)])
    return cv2.transform(frame, table)


def _warped(
    picture: np.ndarray, matrix: np.ndarray, size: int, camera: np.ndarray | None, fill: tuple[float, ...]
) -> np.ndarray:
    """A large picture is first shrunk by averaging, so that the warp, which reads four pixels, does not alias."""
    height, width = picture.shape[:2]
    shrunk = (min(width, size), min(height, size))
    if shrunk != (width, height):
        picture = cv2.resize(picture, shrunk, interpolation=cv2.INTER_AREA)
    matrix = matrix @ np.diag([width / shrunk[0], height / shrunk[1], 1.0])
    half = np.eye(3)
    half[:2, 2] = 0.5
    matrix = np.linalg.inv(half) @ matrix @ half  # from corners to middles of pixels
    if camera is not None:
        matrix = camera @ matrix
    if shrunk == (size, size) and np.allclose(matrix, np.eye(3)):
        return picture
    return cv2.warpAffine(picture, matrix[:2], (size, size), flags=cv2.INTER_LINEAR, borderValue=fill)
