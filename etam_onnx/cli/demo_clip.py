"""A clip that renders itself: a red beetle walks over a meadow, past a blue one and behind a blade of grass.

The same on every machine and without a file, with the true mask of every frame, so a first run of the tracker
needs no video and can be scored.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from ..runtime.video import Frame, Video
from .demo_scenery import paint_beetle, paint_blade, paint_ground

SIZE = (854, 480)
FRAMES = 108
MARGIN = 90  # ground painted beyond the picture, for the camera to drift over
GRAIN = 2.5  # standard deviation of the sensor noise, of 255
RED_SPOTS = [(-0.45, -0.5, 0.2), (-0.45, 0.5, 0.2), (0.2, -0.55, 0.2), (0.2, 0.55, 0.2), (-0.1, 0.0, 0.16)]
BLUE_SPOTS = [(0.0, -0.45, 0.13), (0.0, 0.45, 0.13)]


@dataclass(frozen=True)
class Pose:
    """Where a beetle is: centre (x, y) in pixels of the frame, heading in radians clockwise, size factor."""

    x: float
    y: float
    heading: float
    scale: float


class DemoClip(Video):
    """854x480, 4.5 s at 24 frames per second; frames are rendered when asked for."""

    fps = Fraction(24)

    def __init__(self) -> None:
        rng = np.random.default_rng(20241129)
        width, height = SIZE
        self._ground = Image.fromarray(paint_ground(rng, (width + 2 * MARGIN, height + 2 * MARGIN)))
        self._red = paint_beetle(rng, (212, 52, 30), RED_SPOTS)
        self._blue = paint_beetle(rng, (46, 92, 190), BLUE_SPOTS)
        self._blade = paint_blade(rng, (190, height + 120))
        self._grain = rng.normal(0, GRAIN, (height, width, 1)).astype(np.float32)
        self._rendered: dict[int, tuple[Frame, NDArray[np.bool_]]] = {}

    @property
    def size(self) -> tuple[int, int]:
        return SIZE

    def __len__(self) -> int:
        return FRAMES

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1 in pixels around the red beetle in frame 0, x1 and y1 exclusive."""
        ys, xs = self.truth(0).nonzero()
        return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1

    def truth(self, index: int) -> NDArray[np.bool_]:
        """(height, width): where the red beetle is visible in frame `index`."""
        return self._render(index)[1].copy()

    def _read(self, index: int) -> Frame:
        return self._render(index)[0].copy()

    def _render(self, index: int) -> tuple[Frame, NDArray[np.bool_]]:
        if index not in self._rendered:
            while len(self._rendered) >= 4:
                del self._rendered[next(iter(self._rendered))]
            self._rendered[index] = self._paint(index)
        return self._rendered[index]

    def _paint(self, index: int) -> tuple[Frame, NDArray[np.bool_]]:
        drift_x, drift_y = self._camera(index)
        shift = (1, 0, MARGIN + drift_x, 0, 1, MARGIN + drift_y)
        canvas = self._ground.transform(SIZE, Image.Transform.AFFINE, shift, Image.Resampling.BILINEAR)
        cover = Image.new("L", SIZE)
        for sprite, pose in ((self._blue, self._blue_pose(index)), (self._red, self._red_pose(index))):
            body, corner = placed(sprite, pose)
            alpha = body.getchannel("A")
            shade = alpha.filter(ImageFilter.GaussianBlur(5)).point(lambda value: value * 0.5)
            canvas.paste((18, 16, 8), (corner[0] + 7, corner[1] + 9), shade)
            canvas.paste(body, corner, alpha)
            hidden = 0 if sprite is self._blue else 255
            cover.paste(hidden, corner, alpha)
        edge = (round(455 - 1.6 * drift_x), -60)
        canvas.paste(self._blade, edge, self._blade)
        cover.paste(0, edge, self._blade.getchannel("A"))
        grain = np.roll(self._grain, (index * 37 % 480, index * 101 % 854), (0, 1))
        frame = np.clip(np.asarray(canvas, np.float32) + grain, 0, 255).round().astype(np.uint8)
        return frame, np.asarray(cover) > 127

    def _camera(self, index: int) -> tuple[float, float]:
        """Pixels the camera has moved right and down."""
        t = index / FRAMES
        return 52 * np.sin(2.3 * t) + 3 * np.sin(17 * t), 26 * np.sin(4.1 * t + 0.5) + 2 * np.sin(23 * t)

    def _red_pose(self, index: int) -> Pose:
        t = index / FRAMES
        return self._on_ground(
            index,
            x=170 + 610 * t,
            y=290 - 115 * np.sin(4.3 * t) + 10 * np.sin(19 * t),
            heading=-0.65 * np.cos(4.3 * t) + 0.12 * np.sin(21 * t),
            scale=0.72 + 0.3 * np.sin(np.pi * t) ** 2,
        )

    def _blue_pose(self, index: int) -> Pose:
        t = index / FRAMES
        return self._on_ground(
            index,
            x=730 - 330 * t,
            y=395 - 60 * np.sin(3.0 * t),
            heading=np.pi + 0.35 * np.cos(3.0 * t),
            scale=0.6,
        )

    def _on_ground(self, index: int, x: float, y: float, heading: float, scale: float) -> Pose:
        drift_x, drift_y = self._camera(index)
        return Pose(x - drift_x, y - drift_y, heading, scale)


def placed(sprite: Image.Image, pose: Pose) -> tuple[Image.Image, tuple[int, int]]:
    """The sprite turned and scaled to a pose, and the corner (x, y) of the frame at which it goes."""
    reach = int(np.hypot(*sprite.size) / 2 * pose.scale) + 2
    left, top = int(pose.x) - reach, int(pose.y) - reach
    cos, sin = np.cos(pose.heading) / pose.scale, np.sin(pose.heading) / pose.scale
    x, y = pose.x - left, pose.y - top
    middle_x, middle_y = sprite.width / 2, sprite.height / 2
    inverse = (cos, sin, middle_x - cos * x - sin * y, -sin, cos, middle_y + sin * x - cos * y)
    side = (2 * reach, 2 * reach)
    return sprite.transform(side, Image.Transform.AFFINE, inverse, Image.Resampling.BICUBIC), (left, top)
