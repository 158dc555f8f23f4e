"""What is tracked: a video of the user's, or the clip that the package draws, as a file; and the objects in it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..cli.demo_clip import FRAMES, SIZE, DemoClip
from ..cli.video_writer import even_size, video_writer
from ..runtime.frames import open_video

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the frame."""
COVERED = 0.6
"""Part of the side of its cell that the box of a further object takes."""


@dataclass(frozen=True)
class Clip:
    """A video on disk.

    source: what it is, for a reader.  size: (width, height) in pixels.  first: box of object 1 on frame 0.
    """

    path: Path
    source: str
    size: tuple[int, int]
    first: Box

    def boxes(self, count: int) -> list[Box]:
        """Boxes of `count` objects on frame 0: the first, and others spread over the picture.

        What lies in them does not matter for the time: a frame costs the same whatever is tracked, but for the pixels
        that are drawn.
        """
        side = math.ceil(math.sqrt(max(count - 1, 1)))
        width, height = self.size[0] / side, self.size[1] / side
        margin = (1 - COVERED) / 2
        cells = [(column * width, row * height) for row in range(side) for column in range(side)]
        others = [
            (x + margin * width, y + margin * height, x + (1 - margin) * width, y + (1 - margin) * height)
            for x, y in cells
        ]
        return [self.first, *others][:count]


def clip_of(video: Path, frames: int) -> Clip:
    """A video of the user's, whose object 1 is in the middle.

    Raises:
        ValueError, OSError: it cannot be read, or has fewer than `frames` frames.
    """
    with open_video(video) as opened:
        if len(opened) < frames:
            raise ValueError(f"{video} has {len(opened)} frames, and --frames asks for {frames}")
        width, height = opened.size
    return Clip(video, video.name, (width, height), (width / 3, height / 3, 2 * width / 3, 2 * height / 3))


def drawn_clip(folder: Path, size: tuple[int, int], frames: int) -> Clip:
    """Write the first frames of the package's clip to a video file of `size` (width, height) in `folder`.

    Raises:
        ValueError: the clip is shorter than `frames`.
    """
    if frames > FRAMES:
        raise ValueError(f"the clip that the package draws has {FRAMES} frames, and --frames asks for {frames}")
    path = folder / "clip.mp4"
    with DemoClip() as demo, video_writer(path, demo.fps, size) as writer:
        for index in range(frames):
            picture = demo[index]
            if size != SIZE:
                picture = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
            writer.write(picture)
        x0, y0, x1, y1 = demo.box
    across, down = size[0] / SIZE[0], size[1] / SIZE[1]
    return Clip(path, "the clip of track --demo", even_size(size), (x0 * across, y0 * down, x1 * across, y1 * down))
