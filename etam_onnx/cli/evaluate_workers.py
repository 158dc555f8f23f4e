"""Many videos, a few processes: each loads the model once and works on one video at a time."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from .evaluate_records import Record, RunFolder, fingerprint

Handler = Callable[[Any, bool], Record]
"""(video, whether to show progress within it) -> its record."""


class Task(Protocol):
    """What is done with each video. It is sent to the processes, so it holds settings and no model."""

    def open(self) -> Handler:
        """Load the model."""
        ...


def run_all(
    task: Task,
    items: Mapping[str, Any],
    *,
    workers: int = 1,
    folder: RunFolder | None = None,
    stale: Callable[[str, Record], bool] = lambda name, record: False,
    unit: str = "video",
) -> dict[str, Record]:
    """The record of every item by name, in the order of the items.

    Args:
        task: what to do with an item.
        items: what to work on, by name; with a folder they have `files()`, what a result depends on.
        workers: processes; 1 works in this one.
        folder: where records are kept; items that are finished there, of files that are as they were, are not done
            again.
        stale: whether a finished item has to be done again all the same.
        unit: what an item is called in the progress bar.

    Raises:
        Whatever the task raised first; the records of finished items stay.
    """
    from tqdm import tqdm

    inputs = {name: fingerprint(item.files()) for name, item in items.items()} if folder else {}
    kept = {name: folder.read(name) for name in items} if folder else {}
    records = {
        name: record
        for name, record in kept.items()
        if record is not None and record.get("inputs") == inputs[name] and not stale(name, record)
    }
    left = {name: item for name, item in items.items() if name not in records}
    if not left:
        return {name: records[name] for name in items}
    workers = min(workers, len(left))
    with tqdm(total=len(items), initial=len(records), unit=unit, desc=f"{unit}s") as bar:
        for name, record in _in_processes(task, left, workers) if workers > 1 else _here(task, left):
            if folder is not None:
                folder.write(name, record | {"inputs": inputs[name]})
            records[name] = record
            bar.update()
    return {name: records[name] for name in items}


def _here(task: Task, items: Mapping[str, Any]) -> Iterator[tuple[str, Record]]:
    handler = task.open()
    for name, item in items.items():
        yield name, handler(item, True)


def _in_processes(task: Task, items: Mapping[str, Any], workers: int) -> Iterator[tuple[str, Record]]:
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool

    # Inference libraries do not survive a fork, so every process starts afresh.
    context = multiprocessing.get_context("spawn")
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_ignore_interrupts)
    finished = False
    try:
        names = {pool.submit(_work, task, item): name for name, item in items.items()}
        for future in as_completed(names):
            yield names[future], future.result()
        finished = True
    except BrokenProcessPool as error:
        raise RuntimeError("a worker process died, perhaps for want of memory; try fewer --workers") from error
    finally:
        if not finished:
            for child in set(multiprocessing.active_children()) - before:
                child.terminate()
        pool.shutdown(wait=True, cancel_futures=True)


_opened: tuple[Task, Handler] | None = None


def _work(task: Task, item: Any) -> Record:
    """One item in a worker process."""
    global _opened
    if _opened is None or _opened[0] != task:
        _opened = (task, task.open())
    return _opened[1](item, False)


def _ignore_interrupts() -> None:
    """Ctrl-C reaches all processes of a terminal; the parent alone decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
