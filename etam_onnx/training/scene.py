"""A synthetic scene: everything about one clip that is drawn once, and its picture at any time.

Two kinds. A natural scene moves a camera over one photograph and shifts its objects against their own
surroundings; a pasted scene lays cut-out objects and textured shapes over another photograph. Things pass in
front of the target in both, it may leave the picture and come back, copies of it may move beside it, a piece of
it may be the target instead, the light may change.
"""

from typing import NamedTuple

import cv2
import numpy as np

from .ground import Ground
from .layers import Layer, draw_layer, draw_occluder
from .lighting import Lighting
from .motion import BRIEF, Motion
from .rendering import Look, streak_kernel
from .sprites import Album, Sprite, cut_out

NATURAL_SHARE = 0.45
PART_SHARE = 0.15  # of the scenes: the target is a piece of an object
PAN_SHARE = 0.12  # of the natural scenes: the camera goes so far that the target may leave
SHAKE_SHARE = 0.2  # of the scenes: a hand-held camera


class Picture(NamedTuple):
    """One frame of a scene: `frame` uint8 RGB (S, S, 3), `masks` bool (things, S, S), `surface` as in `Clip`.

    The target is the first thing; where that is a piece of an object, the whole object is the second.
    """

    frame: np.ndarray
    masks: np.ndarray
    surface: np.ndarray


class Scene:
    """Draws everything from `rng`; `frame` renders it, drawing the noise of one frame at each call."""

    def __init__(self, album: Album, rng: np.random.Generator, size: int) -> None:
        self.album, self.rng, self.size = album, rng, size
        natural = bool(rng.uniform() < NATURAL_SHARE)
        part = bool(rng.uniform() < PART_SHARE)
        pan = natural and bool(rng.uniform() < PAN_SHARE)
        photograph = album.draw_image(rng)
        self.flip = bool(rng.uniform() < 0.5)
        self.look = Look.draw(rng)
        self.lighting = Lighting.draw(rng, size)
        self.smear = bool(rng.uniform() < 0.15)
        self.camera = [Motion.draw(rng, size * (0.35 if pan else 0.16 * rng.uniform() ** 0.7), 0.22, 0.15)]
        if rng.uniform() < SHAKE_SHARE:
            self.camera.append(Motion.draw(rng, 0.012 * size, 0.006, 0.008, BRIEF))
        self.ground = Ground(rng, photograph, size, natural, natural and part, pan)
        self.target: Layer | None = None
        self.layers: list[Layer] = []  # from back to front
        if natural:
            if rng.uniform() < 0.3:
                self._add(self._companion(cut_out(photograph, self.ground.number)), leaves=False)
        else:
            sprite = album.draw_sprite(rng, shapes=0.12)
            self.target = draw_layer(rng, sprite, size, bool(rng.uniform() < 0.15), with_part=part)
            for _ in range(int(rng.choice(3, p=(0.4, 0.4, 0.2)))):
                self._add(self._companion(sprite), leaves=False)
            self.layers.append(self.target)
        if rng.uniform() < 0.4:
            self.layers.append(draw_occluder(rng, album, size))
        elif rng.uniform() < 0.3:
            self._add(album.draw_sprite(rng, shapes=0.3), leaves=True)

    def _add(self, sprite: Sprite, leaves: bool) -> None:
        self.layers.append(draw_layer(self.rng, sprite, self.size, leaves))

    def _companion(self, like: Sprite) -> Sprite:
        return like if self.rng.uniform() < 0.35 else self.album.draw_sprite(self.rng, shapes=0.2)

    def frame(self, time: float) -> Picture:
        """The picture at `time`, in frames from the first."""
        camera = np.eye(3)
        for motion in self.camera:
            camera = motion.matrix(time, (self.size / 2, self.size / 2)) @ camera
        frame, seen, surface = self.ground.picture(camera, time)
        masks = list(seen)
        for number, layer in enumerate(self.layers, 1):
            laid = layer.draw(frame, camera, time, self._streak([layer.motion], time))
            covered = laid.alpha > 127
            if layer.opacity == 1:
                uncovered = ~covered
                for mask in masks:
                    mask &= uncovered
            if layer.counted:
                own = [covered] if laid.part is None else [covered & (laid.part > 127), covered]
                masks = [*own, *masks] if layer is self.target else [*masks, *own]
            layer.show(surface, number, camera, time, covered)
        if (kernel := self._streak(self.camera, time)) is not None:
            frame = cv2.filter2D(frame, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
        frame = self.lighting.shade(frame, time)
        frame = self.look.apply(frame, self.rng, self.lighting.gain(time))
        return self._turned(Picture(frame, np.stack(masks), surface))

    def _streak(self, motions: list[Motion], time: float) -> np.ndarray | None:
        """The blur of half a frame of exposure, where this clip has any."""
        if not self.smear:
            return None
        x = sum(motion.x.at(time + 0.5) - motion.x.at(time) for motion in motions)
        y = sum(motion.y.at(time + 0.5) - motion.y.at(time) for motion in motions)
        return streak_kernel(x, y)

    def _turned(self, picture: Picture) -> Picture:
        if not self.flip:
            return picture
        surface = picture.surface[:, ::-1].copy()
        surface[..., 1] = self.size - 1 - surface[..., 1]
        return Picture(picture.frame[:, ::-1], picture.masks[..., ::-1], surface)
