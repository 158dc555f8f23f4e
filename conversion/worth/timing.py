"""Two forms timed in turns, call by call in one process, on the backend's sessions."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.onnxruntime_device import Device
from ...runtime.parity import relative_error
from .rewriting import Array, Form, NotHereError, Rewriting, Step
from .subject import FRAME, Subject

WARM = 2
"""Rounds that are not counted."""
MOST = 50
"""Times as many rounds as asked for, where their calls are short."""


@dataclass(frozen=True)
class Effort:
    """How long to measure: at least so many rounds, and more where they are short, up to `MOST` times as many.

    seconds: of a measurement, not reached by those that `rounds` suffice for.
    """

    rounds: int
    seconds: float = 0.0

    def enough(self, rounds: int, seconds: float) -> bool:
        """Whether so much has been done."""
        return rounds >= self.rounds and (seconds >= self.seconds or rounds >= MOST * self.rounds)


@dataclass(frozen=True)
class Worth:
    """What was measured of one rewriting.

    without_ms, with_ms: medians.  ratios: of every round, without by with.  difference: of the outputs, the
    largest relative one.
    """

    rewriting: Rewriting
    without_ms: float
    with_ms: float
    ratios: tuple[float, ...]
    difference: float

    @property
    def ratio(self) -> float:
        """How many times as long it takes without."""
        return float(np.median(self.ratios))

    @property
    def middle(self) -> tuple[float, float]:
        """Between these lie the middle half of the ratios."""
        low, high = np.percentile(self.ratios, (25, 75))
        return float(low), float(high)

    @property
    def agrees(self) -> bool:
        """Whether both forms compute the same, as far as the rewriting allows."""
        return self.difference <= self.rewriting.tolerance

    @property
    def saved_ms(self) -> float:
        """By what a tracked frame of one object is shorter with it, by the ratio and the time with it."""
        return self.rewriting.per_frame * self.with_ms * (self.ratio - 1)


@dataclass(frozen=True)
class Absent:
    """A rewriting that the model has no place for, and why."""

    rewriting: Rewriting
    reason: str


def require_agreement(found: Iterable[Worth | Absent]) -> None:
    """ValueError that names the first pair whose forms do not compute the same."""
    for entry in found:
        if isinstance(entry, Worth) and not entry.agrees:
            raise ValueError(
                f"{entry.rewriting.name}: both forms should agree to {entry.rewriting.tolerance:.0e}, "
                f"they differ by {entry.difference:.1e}"
            )


class _Opened:
    """The sessions of a form."""

    def __init__(self, form: Form, subject: Subject, device: Device, cache: dict[Hashable, Any]) -> None:
        self.form = form
        self.calls = []
        for step in form.steps:
            feeds = {name: np.ascontiguousarray(x.float().numpy()) for name, x in step.inputs.items()}
            self.calls.append((_session(step, subject, device, cache), feeds))

    def __call__(self) -> tuple[float, list[Sequence[Array]]]:
        """Seconds of one call of everything, and what every step gave."""
        begun = time.perf_counter()
        outputs: list[Sequence[Array]] = []
        for session, feeds in self.calls:
            outputs.append(session.run(None, feeds))
        return time.perf_counter() - begun, outputs


def _session(step: Step, subject: Subject, device: Device, cache: dict[Hashable, Any]) -> Any:
    """The session of a step; a form that calls a graph several times opens it once."""
    key = (id(step.module), id(step.rewrite), *(tuple(x.shape) for x in step.inputs.values()))
    if key not in cache:
        model = subject.exported(step)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "graph.onnx"
            path.write_bytes(model.SerializeToString())
            cache[key] = device.session(path)
    return cache[key]


def difference(found: Sequence[Array], wanted: Sequence[Array], units: Sequence[float] = ()) -> float:
    """The largest of all outputs, each relative to its largest value; units as of `Rewriting`.

    Raises:
        ValueError: the forms do not give the same number of outputs, or of other shapes.
    """
    if [x.shape for x in found] != [x.shape for x in wanted]:
        raise ValueError(f"the forms give {[x.shape for x in found]} and {[x.shape for x in wanted]}")
    each = (*units, *[0.0] * (len(found) - len(units)))
    return max(relative_error(a, b, unit) for a, b, unit in zip(found, wanted, each, strict=True))


def worth_of(rewriting: Rewriting, subject: Subject, device: Device, effort: Effort) -> Worth | Absent:
    """Measure one rewriting.

    A round is a call of each form; which of both goes first changes from round to round.

    Raises:
        ValueError: the forms do not give the same outputs in number and shape.
    """
    try:
        pair = rewriting.build(subject)
    except NotHereError as reason:
        return Absent(rewriting, str(reason))
    cache: dict[Hashable, Any] = {}
    without, deployed = (_Opened(form, subject, device, cache) for form in pair)
    seconds: dict[_Opened, list[float]] = {without: [], deployed: []}
    given: dict[_Opened, list[Sequence[Array]]] = {}
    rounds, begun = 0, 0.0
    while rounds < WARM or not effort.enough(rounds - WARM, time.perf_counter() - begun):
        if rounds == WARM:
            begun = time.perf_counter()
        for opened in (without, deployed) if rounds % 2 == 0 else (deployed, without):
            spent, given[opened] = opened()
            if rounds >= WARM:
                seconds[opened].append(spent)
        rounds += 1
    found, wanted = (opened.form.read(given[opened]) for opened in (deployed, without))
    try:
        error = difference(found, wanted, rewriting.units)
    except ValueError as reason:
        raise ValueError(f"{rewriting.name}: {reason}") from reason
    ratios = tuple(a / b for a, b in zip(seconds[without], seconds[deployed], strict=True))
    medians = [1000 * float(np.median(seconds[opened])) for opened in (without, deployed)]
    return Worth(rewriting, medians[0], medians[1], ratios, error)


def frame_times(
    subject: Subject, device: Device, effort: Effort, opened_graph: Callable[[str], None] = lambda name: None
) -> Mapping[str, float]:
    """Milliseconds of the `ort` graphs of a tracked frame of one object in float32, medians, called in their order."""
    cache: dict[Hashable, Any] = {}
    graphs = {}
    for name in FRAME:
        graphs[name] = _Opened(Form((subject.step(name),)), subject, device, cache)
        opened_graph(name)
    seconds: dict[str, list[float]] = {name: [] for name in FRAME}
    for round_ in range(WARM + effort.rounds):
        for name, graph in graphs.items():
            spent, _ = graph()
            if round_ >= WARM:
                seconds[name].append(spent)
    return {subject.name(name): 1000 * float(np.median(spent)) for name, spent in seconds.items()}
