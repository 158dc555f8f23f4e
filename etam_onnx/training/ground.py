"""The photograph under a scene: read through a moving camera, its objects shifted against their surroundings."""

import cv2
import numpy as np

from .images import MaskedImage
from .layers import PATCH, placed
from .motion import Motion, placement
from .parts import draw_part
from .rendering import Wave, enlarged, reading_grid

PULL_SIDE = 64
CHANNELS = 4  # OpenCV warps so many masks at once
OTHER_MOVES_SHARE = 0.4


class Ground:
    """Drawn once; `picture` reads it. `number` is the target among the photograph's objects.

    `natural`: the objects of the photograph are the things of the scene, and move on their own.
    `with_part`: the first mask is a piece of the target, if one is found. `pan`: the photograph is so much larger
    than the frame that the camera can go far.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        photograph: MaskedImage,
        size: int,
        natural: bool,
        with_part: bool,
        pan: bool,
    ) -> None:
        self.size, self.natural = size, natural
        self.number = int(rng.choice(photograph.objects))
        others = [int(number) for number in rng.permutation(photograph.objects) if number != self.number]
        self.wave = Wave.draw(rng, 0.5 * size) if rng.uniform() < (0.6 if natural else 0.15) else None
        height, width = photograph.mask.shape
        zoom = rng.uniform(1.9, 2.6) if pan else rng.uniform(1.0, 1.5)
        squash = np.exp(rng.uniform(-0.25, 0.25))
        whole = (size * zoom * max(squash, 1.0), size * zoom * max(1 / squash, 1.0))
        free = 0.25 if pan else 0.5  # half of what lies outside, or none of it, is kept on both sides
        room = ((whole[0] - size) * free, (whole[1] - size) * free)
        centre = (size / 2 + rng.uniform(-room[0], room[0]), size / 2 + rng.uniform(-room[1], room[1]))
        self.fit = (min(width, int(np.ceil(whole[0]))), min(height, int(np.ceil(whole[1]))))
        self.place = placement(self.fit[0], self.fit[1], centre, whole, rng.normal() * 0.04)
        self.photograph = self._fitted(photograph.image)
        if natural:
            numbers = [self.number, *others][: CHANNELS - with_part]
            masks = [self._fitted((photograph.mask == number).astype(np.uint8) * 255) for number in numbers]
            self._pull(rng, masks)
            part = draw_part(rng, self.photograph, masks[0]) if with_part else None
            self.masks = np.dstack(masks if part is None else [part, *masks])
            self.nested = part is not None

    def _fitted(self, picture: np.ndarray) -> np.ndarray:
        if picture.shape[1::-1] == self.fit:
            return picture
        return cv2.resize(picture, self.fit, interpolation=cv2.INTER_AREA)

    def _pull(self, rng: np.random.Generator, masks: list[np.ndarray]) -> None:
        """Each object's own shift against its surroundings: full inside the object, fading out around it.

        Smooth fields, so they are kept on a grid of PULL_SIDE x PULL_SIDE cells of the photograph.
        """
        cells = PULL_SIDE / max(self.fit)
        pulls: list[np.ndarray] = []
        self.shifts: list[Motion] = []
        for index, mask in enumerate(masks):
            moves, share = rng.uniform() < OTHER_MOVES_SHARE, rng.uniform(0.3, 1.2)
            if index > 0 and not moves:
                continue
            extent = np.sqrt(max(1.0, float(np.count_nonzero(mask > 127))))
            small = cv2.resize(mask, (PULL_SIDE, PULL_SIDE), interpolation=cv2.INTER_AREA)
            small = cv2.dilate(small, np.ones((3, 3), np.uint8), iterations=max(1, int(0.12 * extent * cells)))
            soft = max(1.0, 0.25 * extent * cells)
            pulls.append(cv2.GaussianBlur(small.astype(np.float32) / 255, (0, 0), soft))
            # The others move less: where two fields overlap their sum must still be invertible.
            self.shifts.append(Motion.draw(rng, soft / cells * (share if index == 0 else share / 2), 0.0, 0.0))
        self.pulls = np.dstack(pulls)

    def picture(self, camera: np.ndarray, time: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Frame uint8 (S, S, 3), masks bool (things, S, S) and surface (S / 16, S / 16, 3) at `time`."""
        size = self.size
        matrix = camera @ self.place
        x, y = reading_grid(matrix, 0, 0, size, size)
        if self.natural or self.wave is not None:
            right, down = self._displacement(matrix, time)
            x, y = x + enlarged(right, size, size), y + enlarged(down, size, size)
        frame = cv2.remap(self.photograph, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        middles = (slice(PATCH // 2, None, PATCH),) * 2
        surface = placed(0, self.place, x[middles], y[middles])
        if not self.natural:
            return frame, np.zeros((0, size, size), bool), surface
        masks = cv2.remap(self.masks, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        seen = np.stack([mask > 127 for mask in cv2.split(masks)])
        if self.nested:
            seen[0] &= seen[1]  # at its soft edge the whole may be cut a pixel earlier
        return frame, seen, surface

    def _displacement(self, matrix: np.ndarray, time: float) -> tuple[np.ndarray, np.ndarray]:
        """How far right and down of its place every pixel of the coarse grid reads the photograph."""
        coarse_x, coarse_y = reading_grid(matrix, 0, 0, self.size, self.size, coarse=True)
        right, down = np.zeros_like(coarse_x), np.zeros_like(coarse_y)
        width, height = self.fit
        if self.wave is not None:
            right, down = self.wave.bend(coarse_x, coarse_y, width, height, time)
        if not self.natural:
            return right, down
        # Solves source = target - shift * pull(source) by iterating; the pull is smooth enough.
        start_x, start_y = coarse_x + right, coarse_y + down
        at_x, at_y = start_x, start_y
        shift_x, shift_y = (np.array([getattr(s, axis).at(time) for s in self.shifts], np.float32) for axis in "xy")
        per_x, per_y = np.float32(PULL_SIDE / width), np.float32(PULL_SIDE / height)
        for _ in range(4):
            cell_x, cell_y = (at_x + 0.5) * per_x - 0.5, (at_y + 0.5) * per_y - 0.5
            pull = cv2.remap(self.pulls, cell_x, cell_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
            pull = pull.reshape(*at_x.shape, -1)
            at_x, at_y = start_x - pull @ shift_x, start_y - pull @ shift_y
        return at_x - coarse_x, at_y - coarse_y
