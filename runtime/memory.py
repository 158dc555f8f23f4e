"""The memory rules: which frames are remembered, with which temporal row, and whose pointers are read.

Pure index arithmetic.  A memory is an opaque handle and an output is too, so the rules can be tested with strings.
Source: the original's memory-conditioned feature preparation and closest-frame selection (SAM 2, ``sam2_base.py``,
``sam2_utils.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

M = TypeVar("M")
P = TypeVar("P")


@dataclass
class Remembered(Generic[M, P]):
    """What one frame left behind for one object.

    `memory` is None when it is too old to be read spatially; `output` is whatever carries the object pointer of
    that frame.
    """

    memory: M | None
    output: P


@dataclass(frozen=True)
class Recall(Generic[M, P]):
    """What a frame attends to: memories with their temporal rows, and outputs whose pointers are read, in no
    particular order.
    """

    memories: tuple[tuple[M, int], ...]
    pointers: tuple[P, ...]


@dataclass(frozen=True)
class MemoryRules:
    """Capacities, in frames.

    recent_memories: frames directly before the current one whose memories are read.  recent_pointers: likewise for
    pointers.
    prompted_frames: prompted frames read at once.
    """

    recent_memories: int = 6
    recent_pointers: int = 15
    prompted_frames: int = 8

    @property
    def prompted_row(self) -> int:
        """Temporal row of prompted frames."""
        return self.recent_memories


def closest_frames(frame: int, candidates: Iterable[int], count: int) -> list[int]:
    """SAM 2's choice of prompted frames: the nearest before, the nearest at or after, then the nearest of the rest.

    Args:
        frame: the current frame number.
        candidates: prompted frame numbers.
        count: how many to keep; with 1 the nearest of all, the earlier one of two equals.
    """
    frames = sorted(candidates)
    if len(frames) <= count:
        return frames
    if count == 1:
        return [min(frames, key=lambda t: abs(t - frame))]
    before = [t for t in frames if t < frame][-1:]
    after = [t for t in frames if t >= frame][:1]
    chosen = before + after
    rest = sorted((t for t in frames if t not in chosen), key=lambda t: abs(t - frame))
    return sorted(chosen + rest[: count - len(chosen)])


@dataclass
class MemoryBank(Generic[M, P]):
    """The remembered frames of one object, by frame number.

    `prompted` frames carry a prompt and are never forgotten by themselves; `recent` ones were tracked.
    """

    rules: MemoryRules
    prompted: dict[int, Remembered[M, P]] = field(default_factory=dict)
    recent: dict[int, Remembered[M, P]] = field(default_factory=dict)

    def store(self, frame: int, entry: Remembered[M, P], prompted: bool) -> None:
        """Remember `frame`; a prompted entry displaces a tracked one of the same frame."""
        if prompted:
            self.recent.pop(frame, None)
            self.prompted[frame] = entry
        else:
            self.recent[frame] = entry

    def recall(self, frame: int, reverse: bool = False) -> Recall[M, P]:
        """What `frame` attends to when tracking forward, or backward with `reverse`."""
        rules, step = self.rules, 1 if reverse else -1
        chosen = closest_frames(frame, self.prompted, rules.prompted_frames)
        unchosen = {t: entry for t, entry in self.prompted.items() if t not in chosen}

        memories: list[tuple[M, int]] = []
        for t in chosen:
            memory = self.prompted[t].memory
            if memory is not None:
                memories.append((memory, rules.prompted_row))
        for distance in range(1, rules.recent_memories + 1):
            entry = self._tracked(frame + step * distance, unchosen)
            if entry is not None and entry.memory is not None:
                memories.append((entry.memory, distance - 1))

        pointers = [self.prompted[t].output for t in chosen if (t >= frame if reverse else t <= frame)]
        for distance in range(1, rules.recent_pointers + 1):
            entry = self._tracked(frame + step * distance, unchosen)
            if entry is not None:
                pointers.append(entry.output)
        return Recall(tuple(memories), tuple(pointers))

    def _tracked(self, frame: int, unchosen: Mapping[int, Remembered[M, P]]) -> Remembered[M, P] | None:
        """A frame that counts as recent: tracked, or prompted but not chosen."""
        return self.recent.get(frame) or unchosen.get(frame)

    def forget_around(self, frame: int) -> None:
        """Drop tracked frames near a prompted one (SAM 2's ``clear_non_cond_mem_around_input``)."""
        reach = self.rules.recent_memories + 1
        for t in range(frame - reach, frame + reach + 1):
            self.recent.pop(t, None)

    def forget_passed(self, frame: int, reverse: bool = False) -> None:
        """Drop what no frame beyond `frame` can read again while tracking goes on in one direction."""
        reach = max(self.rules.recent_memories, self.rules.recent_pointers)
        for t in list(self.recent):
            age = t - frame if reverse else frame - t
            if age >= reach:
                del self.recent[t]
            elif age >= self.rules.recent_memories:
                self.recent[t].memory = None

    def keep_first_and_latest(self) -> bool:
        """Hold the prompted frames to capacity: the first and the latest stay, the others become tracked frames.

        Returns:
            Whether a frame had to give way.
        """
        frames = sorted(self.prompted)
        surplus = frames[1 : len(frames) - self.rules.prompted_frames + 1]
        for t in surplus:
            self.recent[t] = self.prompted.pop(t)
        return bool(surplus)
