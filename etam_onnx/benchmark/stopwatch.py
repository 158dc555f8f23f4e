"""Where the time of a frame goes: the time spent in named functions, each without what it calls among the others."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..runtime.side_by_side import beside_others, one_of_several


@dataclass(frozen=True)
class FrameTimes:
    """One frame.

    seconds: from the frame before to this one.  parts: seconds in each named function, not counting the named ones that
    it called, so they add up to at most `seconds`; where objects are tracked side by side, each function its share of
    that time.  calls: how often each was called there.  beside: seconds in named functions on other threads, which
    overlap with everything.
    """

    seconds: float
    parts: dict[str, float] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    beside: dict[str, float] = field(default_factory=dict)


class Stopwatch:
    """Times frames on the thread that made it.

    Args:
        workers: how many objects are tracked side by side, while that thread waits for them.
    """

    def __init__(self, workers: int = 1) -> None:
        self._home = threading.get_ident()
        self._workers = workers
        self._entries: deque[tuple[str, float, bool]] = deque()  # name, seconds, of the frame
        self._open = threading.local()
        self._begun = time.perf_counter()

    def timed(self, name: str, function: Callable[..., Any], settle: Callable[[], None] | None = None) -> Any:
        """`function` with its time noted under `name`; `settle` waits for a device's unfinished work."""

        def run(*args: Any, **kwargs: Any) -> Any:
            inner = self._inner()
            if settle:
                settle()
            begun = time.perf_counter()
            inner.append(0.0)
            try:
                result = function(*args, **kwargs)
                if settle:
                    settle()
                return result
            finally:
                spent = time.perf_counter() - begun
                own = spent - inner.pop()
                if inner:
                    inner[-1] += spent
                of_the_frame = threading.get_ident() == self._home or one_of_several()
                self._entries.append((name, own / self._workers if beside_others() else own, of_the_frame))

        return run

    def start(self) -> None:
        """Begin a frame now; what happened since the last one ended is not counted."""
        self._entries.clear()
        self._begun = time.perf_counter()

    def mark(self) -> FrameTimes:
        """End the frame and begin the next."""
        now = time.perf_counter()
        times = FrameTimes(now - self._begun)
        for _ in range(len(self._entries)):  # other threads may go on adding
            name, seconds, of_the_frame = self._entries.popleft()
            shares = times.parts if of_the_frame else times.beside
            shares[name] = shares.get(name, 0.0) + seconds
            if of_the_frame:
                times.calls[name] = times.calls.get(name, 0) + 1
        self._begun = now
        return times

    def _inner(self) -> list[float]:
        """Of each named function that is running on this thread, outermost first: seconds in named ones it called."""
        if not hasattr(self._open, "inner"):
            self._open.inner = []
        inner: list[float] = self._open.inner
        return inner
