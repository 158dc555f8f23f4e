"""A second process that draws the clips ahead of time. Order and content depend on the plans alone."""

import multiprocessing
import os
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import cv2
import numpy as np

from .clips import ClipMaker
from .images import load_images
from .schedule import StepPlan

AHEAD = 4  # batches in the making while one is trained on

_maker: ClipMaker | None = None  # of the drawing process


def _end_with_parent() -> None:
    """A parent that is killed cannot close its pool; without this the drawing process would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _open(root: str) -> None:
    global _maker
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the parent has already told about broken images
        _maker = ClipMaker(load_images(root, "train"))


def draw_clips(maker: ClipMaker, plan: StepPlan) -> tuple[np.ndarray, np.ndarray]:
    """The clips of a plan: frames uint8 (B, T, S, S, 3) and masks bool (B, T, S, S)."""
    seeds = ([plan.seed, plan.step, 2, plan.rank, index] for index in range(plan.clips))
    clips = [maker.make(seed, plan.size, plan.times) for seed in seeds]
    return np.stack([clip.frames for clip in clips]), np.stack([clip.masks for clip in clips])


def _draw(plan: StepPlan) -> tuple[np.ndarray, np.ndarray]:
    assert _maker is not None
    return draw_clips(_maker, plan)


class Feed:
    """Iterates over (plan, frames, masks); `next_plan(step)` is asked a few steps ahead. To be closed."""

    def __init__(self, root: Path | str, first_step: int, next_plan: Callable[[int], StepPlan]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_open, initargs=(str(root),))
        self._step, self._next_plan = first_step, next_plan
        self._waiting: deque[tuple[StepPlan, Future[tuple[np.ndarray, np.ndarray]]]] = deque()

    def __iter__(self) -> Iterator[tuple[StepPlan, np.ndarray, np.ndarray]]:
        while True:
            while len(self._waiting) < AHEAD:
                plan = self._next_plan(self._step)
                self._waiting.append((plan, self._pool.submit(_draw, plan)))
                self._step += 1
            plan, future = self._waiting.popleft()
            try:
                frames, masks = future.result()
            except BrokenProcessPool as error:
                raise RuntimeError("The process that draws the clips ended unexpectedly.") from error
            yield plan, frames, masks

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
