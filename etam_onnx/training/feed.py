"""Other processes that draw the clips ahead of time. Order and content depend on the plans alone."""

import multiprocessing
import os
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import cv2

from .clips import Clip, ClipSource
from .schedule import StepPlan
from .sources import open_sources

AHEAD = 4  # steps in the making while one is trained on
LARGEST_AHEAD = 2**31  # bytes of frames and masks waiting

Drawn = tuple[Clip, int, int]
"""A clip, the process that drew it and how much unusable data that process has skipped so far."""

_source: ClipSource | None = None  # of a drawing process


def _end_with_parent() -> None:
    """A parent that is killed cannot close its pool; without this the drawing process would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _open(folders: Sequence[tuple[Path, float]], augment: str, apart: bool) -> None:
    global _source
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    warnings.simplefilter("ignore")  # the parent has already told about broken files, and counts the others
    _source = open_sources(folders, augment, apart)


def _draw(plan: StepPlan, clip: int) -> Drawn:
    assert _source is not None
    return draw_clip(_source, plan, clip), os.getpid(), skipped_by(_source)


def draw_clip(source: ClipSource, plan: StepPlan, clip: int) -> Clip:
    """Clip number `clip` of a plan; depends on the plan and the data alone."""
    return source.make(plan.clip_seed(clip), plan.size, plan.times, plan.objects)


def skipped_by(source: ClipSource) -> int:
    """How many items of its data a source could not use so far."""
    return int(getattr(source, "skipped", 0))


class Feed:
    """Iterates over (plan, numbered clips) of one process; `next_plan(step)` is asked a few steps ahead.

    To be closed. `workers` 0 draws in this process, when a clip is asked for. `apart`: see `Mixture`.
    """

    def __init__(
        self,
        folders: Sequence[tuple[Path, float]],
        augment: str,
        first_step: int,
        next_plan: Callable[[int], StepPlan],
        workers: int = 1,
        rank: int = 0,
        replicas: int = 1,
        apart: bool = False,
    ) -> None:
        self._step, self._next_plan, self._rank, self._replicas = first_step, next_plan, rank, replicas
        self._waiting: deque[tuple[StepPlan, list[tuple[int, Future[Drawn]]]]] = deque()
        self._skipped: dict[int, int] = {}
        self._pool: ProcessPoolExecutor | None = None
        self._source: ClipSource | None = None
        if workers:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(
                workers, mp_context=context, initializer=_open, initargs=(list(folders), augment, apart)
            )
        else:
            self._source = open_sources(folders, augment, apart)

    @property
    def skipped(self) -> int:
        """How much unusable data the drawing processes have met so far."""
        return sum(self._skipped.values())

    def _ahead(self) -> int:
        """How many steps may wait: fewer where one of them is large."""
        if not self._waiting:
            return 1
        plan, _ = self._waiting[0]  # not the clips: every process must plan the same steps at the same time
        size = plan.clips * len(plan.times) * plan.size**2 * (3 + plan.objects) / self._replicas
        return max(2, min(AHEAD, int(LARGEST_AHEAD / size)))

    def __iter__(self) -> Iterator[tuple[StepPlan, list[tuple[int, Clip]]]]:
        while True:
            if self._source is not None:
                plan = self._next_plan(self._step)
                numbers = plan.share(self._rank, self._replicas)
                clips = [(number, draw_clip(self._source, plan, number)) for number in numbers]
                self._skipped[0] = skipped_by(self._source)
                self._step += 1
                yield plan, clips
                continue
            assert self._pool is not None
            while len(self._waiting) < self._ahead():
                plan = self._next_plan(self._step)
                numbers = plan.share(self._rank, self._replicas)
                self._waiting.append((plan, [(n, self._pool.submit(_draw, plan, n)) for n in numbers]))
                self._step += 1
            plan, futures = self._waiting.popleft()
            try:
                yield plan, [(number, self._received(future)) for number, future in futures]
            except BrokenProcessPool as error:
                raise RuntimeError("A process that draws the clips ended unexpectedly.") from error

    def _received(self, future: Future[Drawn]) -> Clip:
        clip, process, skipped = future.result()
        self._skipped[process] = max(skipped, self._skipped.get(process, 0))
        return clip

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
