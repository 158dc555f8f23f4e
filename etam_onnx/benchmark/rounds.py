"""Taking turns: one process per contender, of which one works at a time while the others wait."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from .channel import Channel
from .contender import Contender
from .stopwatch import FrameTimes
from .worker import Work

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
PATIENCE = 10.0  # seconds until a process that should end is ended


@dataclass(frozen=True)
class Round:
    """The clip tracked once.  finish: what came after the last frame was found, such as the end of the encoding."""

    frames: list[FrameTimes]
    finish: FrameTimes

    @property
    def seconds(self) -> float:
        """From opening the clip to the closed output."""
        return sum(frame.seconds for frame in self.frames) + self.finish.seconds


@dataclass(frozen=True)
class Turn:
    """When a contender worked: seconds of one clock for all."""

    contender: str
    round: int
    frames: int
    begun: float
    ended: float


@dataclass
class Measured:
    """One contender's times.  facts: what it said of itself when it was ready."""

    contender: Contender
    facts: dict[str, Any]
    rounds: list[Round] = field(default_factory=list)
    peak_memory_bytes: int = 0


class WorkerProcess:
    """A contender in a process of its own, ready to work when this is made.

    Raises:
        RuntimeError: it cannot run here; one sentence.
    """

    def __init__(self, contender: Contender, work: Work, environment: Mapping[str, str]) -> None:
        self.name = contender.name
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  (see end)
        threads = {name: str(contender.threads) for name in THREAD_VARIABLES}
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            env={**os.environ, **threads, **environment},
        )
        assert self._process.stdout is not None and self._process.stdin is not None
        self._channel = Channel(self._process.stdout, self._process.stdin)
        try:
            answer = self.ask({"contender": contender.as_json(), "work": work.as_json()})
        except BaseException:
            self.end()
            raise
        self.measured = Measured(contender, answer["ready"])

    def ask(self, message: Any) -> Any:
        """Send a message and wait for the answer."""
        try:
            self._channel.send(message)
            answer = self._channel.receive()
        except (EOFError, OSError) as error:
            raise RuntimeError(f"the process that ran {self.name} {self._last_words()}") from error
        if "error" in answer:
            raise RuntimeError(f"{self.name}: {answer['error']}")
        return answer

    def finish(self) -> None:
        """Note the most memory it has used."""
        self.measured.peak_memory_bytes = self.ask({"do": "end"})["peak_memory_bytes"]

    def end(self) -> None:
        """Let it end, or make it."""
        with suppress(OSError):
            self._channel.close()
        try:
            self._process.wait(PATIENCE)
        except BaseException as error:
            self._process.kill()
            self._process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
        finally:
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._errors.close()

    def _last_words(self) -> str:
        """How it ended: the signal, or the last thing it printed."""
        try:
            code = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            return "stopped answering"
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}, perhaps for want of memory"
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        return f"failed: {lines[-1]}" if lines else f"ended with {code}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


def measure(
    contenders: Sequence[tuple[Contender, Work, Mapping[str, str]]],
    rounds: int,
    progress: Callable[[int], None] = lambda frames: None,
) -> tuple[list[Measured], list[Turn]]:
    """Have every contender do the same work `rounds` times, turn by turn.

    Args:
        contenders: each with its work and the environment variables that its process needs.
        rounds: how often; every other round goes through the contenders backwards, so that a machine that gets slower
            or faster meanwhile favours none.
        progress: told of finished frames.

    Raises:
        RuntimeError: a contender cannot run here; one sentence.
    """
    turns: list[Turn] = []
    with ExitStack() as stack:
        workers = [stack.enter_context(WorkerProcess(*contender)) for contender in contenders]
        for number in range(rounds):
            order = workers if number % 2 == 0 else workers[::-1]
            frames: dict[str, list[FrameTimes]] = {worker.name: [] for worker in workers}
            waiting = list(order)
            while waiting:
                for worker in list(waiting):
                    begun = time.perf_counter()
                    answer = worker.ask({"do": "round"})
                    ended = time.perf_counter()
                    found = [FrameTimes(**times) for times in answer["frames"]]
                    turns.append(Turn(worker.name, number, len(found), begun, ended))
                    frames[worker.name] += found
                    progress(len(found))
                    if "finish" in answer:
                        finish = FrameTimes(**answer["finish"])
                        worker.measured.rounds.append(Round(frames[worker.name], finish))
                        waiting.remove(worker)
        for worker in workers:
            worker.finish()
    return [worker.measured for worker in workers], turns
