"""Which annotated frames count: every benchmark has its own rule."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Format = Literal["folders", "davis", "mose", "lvos", "youtube-vos", "sa-v"]


@dataclass(frozen=True)
class Convention:
    """The rule of a benchmark.

    Attributes:
        ends: the video's first and last annotated frames count.
        prompts: the frame on which an object is annotated first, and which gave its prompt, counts.
        either: an object counts from the first frame that counts and on which truth or prediction shows it;
            off, from the first annotation that shows it.
        no_object: label in the annotations that is background like 0.
    """

    ends: bool = False
    prompts: bool = True
    either: bool = False
    no_object: int | None = None

    def counts(self, position: int, count: int) -> bool:
        """Whether the annotated frame at `position` of `count` may count at all."""
        return self.ends or 0 < position < count - 1

    def with_all_frames(self) -> Convention:
        """The same with every annotated frame counting."""
        return replace(self, ends=True, prompts=True)


CONVENTIONS: dict[Format, Convention] = {
    # Frames and masks side by side, scored as DAVIS 2016 is.
    "folders": Convention(),
    # DAVIS 2017: as 2016. Its semi-supervised evaluator takes label 255 for background; the unsupervised one leaves
    # such pixels out.
    "davis": Convention(no_object=255),
    "mose": Convention(),
    # LVOS: every annotated frame of an object's own range, its first one included.
    "lvos": Convention(ends=True, no_object=255),
    # YouTube-VOS: every annotated frame after the object's first.
    "youtube-vos": Convention(ends=True, prompts=False),
    # SA-V: as its evaluator, which knows an object once a frame that counts has shown it.
    "sa-v": Convention(either=True),
}
