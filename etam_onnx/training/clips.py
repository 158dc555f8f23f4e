"""Synthetic clips with exact masks, made from photographs with object masks. One seed gives one clip.

Two kinds. A natural clip moves a camera over one photograph and shifts the object against its own
surroundings; a pasted clip lays cut-out objects and textured shapes over another photograph. Things pass in
front of the object in both, it may leave the picture and come back, and copies of it may move beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from .images import MaskedImage, source_weights
from .motion import Motion, placement
from .rendering import Look, Wave, enlarged, lay_sprite, reading_grid, streak_kernel
from .sprites import Sprite, bar, cut_out, random_shape, shrunk

NATURAL_SHARE = 0.45
SMALLEST_START = 0.004  # of the frame: what must be visible of the object on the first frame
LARGEST_START = 0.7
ATTEMPTS = 20
PULL_SIDE = 64


@dataclass(frozen=True)
class Clip:
    """`frames` uint8 RGB (T, S, S, 3), `masks` bool (T, S, S): the visible part, `times` in frames (T,)."""

    frames: np.ndarray
    masks: np.ndarray
    times: tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """A sprite with its place on the frame at time 0 and its motion from there."""

    sprite: Sprite
    place: np.ndarray
    centre: tuple[float, float]
    motion: Motion
    wave: Wave | None
    opacity: float = 1.0

    def matrix(self, time: float) -> np.ndarray:
        return self.motion.matrix(time, self.centre) @ self.place


class ClipMaker:
    """Makes clips from `images`. Cheap to copy into another process; holds no random state."""

    def __init__(self, images: Sequence[MaskedImage]) -> None:
        self.images = list(images)
        self.weights = source_weights(self.images)

    def make(self, seed: Sequence[int], size: int, times: Sequence[int]) -> Clip:
        """The clip of that seed: `size` x `size` pixels at the given times (frames, increasing, first 0)."""
        if len(times) == 0 or times[0] != 0 or any(b <= a for a, b in pairwise(times)):
            raise ValueError(f"The times of a clip must start at 0 and increase, not {tuple(times)}.")
        clip = None
        for attempt in range(ATTEMPTS):
            rng = np.random.default_rng([*seed, attempt])
            clip = _Scene(self, rng, size).clip(times)
            if SMALLEST_START <= clip.masks[0].mean() <= LARGEST_START:
                break
        assert clip is not None
        return clip

    def draw_image(self, rng: np.random.Generator) -> MaskedImage:
        return self.images[int(rng.choice(len(self.images), p=self.weights))]

    def draw_sprite(self, rng: np.random.Generator, shapes: float) -> Sprite:
        image = self.draw_image(rng)
        if rng.uniform() < shapes:
            return random_shape(rng, image.image)
        return cut_out(image, int(rng.choice(image.objects)))


class _Scene:
    """Everything drawn once per clip; `clip` renders it."""

    def __init__(self, maker: ClipMaker, rng: np.random.Generator, size: int) -> None:
        self.maker, self.rng, self.size = maker, rng, size
        self.natural = rng.uniform() < NATURAL_SHARE
        self.ground = maker.draw_image(rng)
        self.number = int(rng.choice(self.ground.objects))
        self.flip = rng.uniform() < 0.5
        self.look = Look.draw(rng)
        self.smear = rng.uniform() < 0.15
        self.camera = Motion.draw(rng, 0.16 * size * rng.uniform() ** 0.7, 0.22, 0.15)
        self.ground_wave = Wave.draw(rng, 0.5 * size) if rng.uniform() < (0.6 if self.natural else 0.15) else None
        self._lay_ground()
        self.target: Layer | None = None
        self.behind: list[Layer] = []
        self.front: list[Layer] = []
        if not self.natural:
            sprite = maker.draw_sprite(rng, shapes=0.12)
            self.target = self._layer(sprite, rng.uniform() < 0.15)
            self.behind = [self._layer(self._companion(sprite), False) for _ in range(rng.choice(3, p=(0.4, 0.4, 0.2)))]
        elif rng.uniform() < 0.3:
            self.front.append(self._layer(self._companion(cut_out(self.ground, self.number)), False))
        if rng.uniform() < 0.4:
            self.front.append(self._occluder())
        elif rng.uniform() < 0.3:
            self.front.append(self._layer(maker.draw_sprite(rng, shapes=0.3), True))

    def _lay_ground(self) -> None:
        rng, size = self.rng, self.size
        height, width = self.ground.mask.shape
        zoom = rng.uniform(1.0, 1.5)
        squash = np.exp(rng.uniform(-0.25, 0.25))
        whole = (size * zoom * max(squash, 1.0), size * zoom * max(1 / squash, 1.0))
        fit = (min(width, int(np.ceil(whole[0]))), min(height, int(np.ceil(whole[1]))))
        self.picture, self.object_mask = (
            self.ground.image,
            (self.ground.mask == self.number).astype(np.uint8) * 255,
        )
        if fit != (width, height):
            self.picture = cv2.resize(self.picture, fit, interpolation=cv2.INTER_AREA)
            self.object_mask = cv2.resize(self.object_mask, fit, interpolation=cv2.INTER_AREA)
        room = ((whole[0] - size) / 2, (whole[1] - size) / 2)
        centre = (size / 2 + rng.uniform(-room[0], room[0]), size / 2 + rng.uniform(-room[1], room[1]))
        self.ground_place = placement(fit[0], fit[1], centre, whole, rng.normal() * 0.04)
        # The object's own shift against its surroundings: full inside the object, fading out around it.
        # A smooth field, so it is kept on a grid of PULL_SIDE x PULL_SIDE cells of the picture.
        extent = np.sqrt(max(1.0, float((self.object_mask > 127).sum())))
        cells = PULL_SIDE / max(fit)
        small = cv2.resize(self.object_mask, (PULL_SIDE, PULL_SIDE), interpolation=cv2.INTER_AREA)
        small = cv2.dilate(small, np.ones((3, 3), np.uint8), iterations=max(1, int(0.12 * extent * cells)))
        soft = max(1.0, 0.25 * extent * cells)
        self.pull = cv2.GaussianBlur(small.astype(np.float32) / 255, (0, 0), soft)
        self.shift = Motion.draw(rng, soft / cells * rng.uniform(0.3, 1.2), 0.0, 0.0)

    def _layer(self, sprite: Sprite, leaves: bool) -> Layer:
        rng, size = self.rng, self.size
        longest = size * float(np.exp(rng.uniform(np.log(0.14), np.log(0.75))))
        longest = min(longest, 2.0 * max(sprite.width, sprite.height) * max(1.0, size / 256))
        shape = np.array([sprite.width, sprite.height]) / max(sprite.width, sprite.height)
        squash = np.exp(rng.uniform(-0.2, 0.2))
        wide, high = longest * shape * (squash, 1 / squash)
        reach = size * (rng.uniform(0.7, 1.2) if leaves else 0.3)
        motion = Motion.draw(rng, reach, 0.35, 0.5)
        centre = (size * rng.uniform(0.12, 0.88), size * rng.uniform(0.12, 0.88))
        sprite = shrunk(sprite, 1.3 * wide, 1.3 * high)
        if rng.uniform() < 0.5:
            sprite = Sprite(np.ascontiguousarray(sprite.rgba[:, ::-1]))
        place = placement(sprite.width, sprite.height, centre, (wide, high), rng.normal() * 0.25)
        wave = Wave.draw(rng, min(sprite.width, sprite.height)) if rng.uniform() < 0.5 else None
        return Layer(sprite, place, centre, motion, wave)

    def _companion(self, like: Sprite) -> Sprite:
        return like if self.rng.uniform() < 0.35 else self.maker.draw_sprite(self.rng, shapes=0.2)

    def _occluder(self) -> Layer:
        rng, size = self.rng, self.size
        if rng.uniform() < 0.5:
            sprite = bar(rng, self.maker.draw_image(rng).image)
            wide, high = size * rng.uniform(0.04, 0.2), size * rng.uniform(0.8, 1.8)
        else:
            sprite = self.maker.draw_sprite(rng, shapes=0.5)
            wide, high = size * rng.uniform(0.2, 0.5, 2)
        motion = Motion.draw(rng, size * rng.uniform(0.5, 1.2), 0.1, 0.2)
        centre = (size * rng.uniform(-0.1, 1.1), size * rng.uniform(0.1, 0.9))
        place = placement(sprite.width, sprite.height, centre, (wide, high), rng.normal() * 0.5)
        return Layer(sprite, place, centre, motion, None, opacity=1.0 if rng.uniform() < 0.92 else 0.6)

    def clip(self, times: Sequence[int]) -> Clip:
        rendered = [self._frame(time) for time in times]
        frames = np.stack([frame for frame, _ in rendered])
        masks = np.stack([mask for _, mask in rendered])
        if self.flip:
            frames, masks = frames[:, :, ::-1], masks[:, :, ::-1]
        return Clip(np.ascontiguousarray(frames), np.ascontiguousarray(masks), tuple(int(t) for t in times))

    def _frame(self, time: int) -> tuple[np.ndarray, np.ndarray]:
        camera = self.camera.matrix(time, (self.size / 2, self.size / 2))
        frame, visible = self._ground(time, camera)
        for layer in self.behind:
            self._draw(frame, layer, camera, time)
        if self.target is not None:
            visible = self._draw(frame, self.target, camera, time) > 127
        for layer in self.front:
            covered = self._draw(frame, layer, camera, time) > 127
            if layer.opacity == 1.0:
                visible = visible & ~covered
        if self.smear and (kernel := self._streak(self.camera, time)) is not None:
            frame = cv2.filter2D(frame, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
        return self.look.apply(frame, self.rng), visible

    def _streak(self, motion: Motion, time: float) -> np.ndarray | None:
        x = motion.x.at(time + 0.5) - motion.x.at(time)
        y = motion.y.at(time + 0.5) - motion.y.at(time)
        return streak_kernel(x, y)

    def _draw(self, frame: np.ndarray, layer: Layer, camera: np.ndarray, time: float) -> np.ndarray:
        streak = self._streak(layer.motion, time) if self.smear else None
        return lay_sprite(frame, layer.sprite, camera @ layer.matrix(time), layer.wave, time, streak, layer.opacity)

    def _ground(self, time: float, camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        size = self.size
        matrix = camera @ self.ground_place
        x, y = reading_grid(matrix, 0, 0, size, size)
        coarse_x, coarse_y = reading_grid(matrix, 0, 0, size, size, coarse=True)
        right, down = np.zeros_like(coarse_x + coarse_y), np.zeros_like(coarse_x + coarse_y)
        if self.ground_wave is not None:
            height, width = self.object_mask.shape
            right, down = self.ground_wave.bend(coarse_x, coarse_y, width, height, time)
        if self.natural:
            # Solves source = target - shift * pull(source) by iterating; the pull is smooth enough.
            start_x, start_y = coarse_x + right, coarse_y + down
            at_x, at_y = start_x, start_y
            shift_x, shift_y = np.float32(self.shift.x.at(time)), np.float32(self.shift.y.at(time))
            height, width = self.object_mask.shape
            per_x, per_y = np.float32(PULL_SIDE / width), np.float32(PULL_SIDE / height)
            for _ in range(4):
                cell_x, cell_y = (at_x + 0.5) * per_x - 0.5, (at_y + 0.5) * per_y - 0.5
                pull = cv2.remap(self.pull, cell_x, cell_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
                at_x, at_y = start_x - shift_x * pull, start_y - shift_y * pull
            right, down = at_x - coarse_x, at_y - coarse_y
        if self.natural or self.ground_wave is not None:
            x, y = x + enlarged(right, size, size), y + enlarged(down, size, size)
        frame = cv2.remap(self.picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        if not self.natural:
            return frame, np.zeros((size, size), bool)
        mask = cv2.remap(self.object_mask, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        return frame, mask > 127
