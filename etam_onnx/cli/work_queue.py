"""Work done in order beside the main thread: a frame is drawn, encoded and stored while the next one is tracked."""

from __future__ import annotations

from collections.abc import Callable
from queue import Queue
from threading import Thread
from types import TracebackType
from typing import Self


class WorkQueue:
    """Calls made by one thread in the order they were put in, at most `depth` waiting.

    An error in a call is raised by the next `put` or when the block ends, and no call after it is made.  A block left
    by an error or Ctrl-C drops what is waiting; in either case nothing runs any more once it has been left.
    """

    def __init__(self, depth: int) -> None:
        self._calls: Queue[Callable[[], None] | None] = Queue(depth)
        self._error: BaseException | None = None
        self._dropped = False
        self._thread = Thread(target=self._work, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._dropped = kind is not None
        try:
            self._calls.put(None)
            self._thread.join()
        except BaseException:  # Ctrl-C while waiting: what is being written must not be closed under the thread
            self._dropped = True
            self._thread.join()
            raise
        if kind is None and self._error is not None:
            raise self._error

    def put(self, call: Callable[[], None]) -> None:
        """Have `call` made after those put in before; waits while the queue is full."""
        if self._error is not None:
            raise self._error
        self._calls.put(call)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            if self._dropped or self._error is not None:
                continue
            try:
                call()
            except BaseException as error:
                self._error = error
