"""Objects of one frame side by side, each on a core of its own, instead of one after another on all cores.

The graphs of one object are chains of small operators; between two of them all cores but one wait.  Several chains at
once leave no core waiting, need nothing exported for them and share nothing but the frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import local
from typing import TypeVar

T = TypeVar("T")
_here = local()


def one_of_several() -> bool:
    """Whether this thread does what several do at once."""
    return getattr(_here, "one_of_several", False)


def beside_others() -> bool:
    """Whether this thread has one core only, because others work beside it."""
    return getattr(_here, "beside", False)


@contextmanager
def on_all_cores() -> Iterator[None]:
    """For work that the threads beside this one wait for."""
    before = beside_others()
    _here.beside = False
    try:
        yield
    finally:
        _here.beside = before


class SideBySide:
    """Does the same for many things, on at most `workers` threads."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool: ThreadPoolExecutor | None = None

    def each(self, work: Callable[[T], None], items: Sequence[T]) -> None:
        """Call `work` on every item.

        Where there is an item for every worker, each has a thread; what is left over is done after it, one after
        another on all cores.  An exception of `work` is raised here, the first one of several.
        """
        even = len(items) - len(items) % self.workers if self.workers > 1 else 0
        if even:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.workers, "object")
            list(self._pool.map(lambda item: _alone(work, item), items[:even]))
        for item in items[even:]:
            work(item)


def _alone(work: Callable[[T], None], item: T) -> None:
    _here.one_of_several = _here.beside = True
    work(item)
