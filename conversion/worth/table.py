"""The measurements as a table of text and as plain JSON values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .timing import Absent, Worth

COLUMNS = (
    "rewriting",
    "timed in",
    "what is timed",
    "per frame",
    "ms without",
    "ms with",
    "ratio",
    "middle half",
    "% of frame",
    "difference",
)
LEFT = 3
"""Columns of words; the others are numbers."""


@dataclass(frozen=True)
class Measurements:
    """Of one model in one run.

    frame: milliseconds of each `ort` graph of a tracked frame in float32.
    """

    model: str
    image_size: int
    weights: str
    threads: int
    rounds: int
    versions: Mapping[str, str]
    frame: Mapping[str, float]
    found: Sequence[Worth | Absent]

    @property
    def frame_ms(self) -> float:
        """All graphs of a tracked frame."""
        return sum(self.frame.values())


def as_text(measured: Measurements) -> str:
    """The head, a table with a row per rewriting, and what each name stands for."""
    versions = ", ".join(f"{name} {version}" for name, version in measured.versions.items())
    graphs = ", ".join(f"{name} {ms:.1f}" for name, ms in measured.frame.items())
    lines = [
        f"{measured.model} at {measured.image_size} pixels, {measured.weights}, "
        f"threads: {measured.threads}, rounds: {measured.rounds}; {versions}",
        f"a tracked frame of one object, variant ort in fp32: {measured.frame_ms:.1f} ms ({graphs})",
        "",
        *_aligned([COLUMNS, *(_row(entry, measured.frame_ms) for entry in measured.found)]),
        "",
    ]
    width = max((len(entry.rewriting.name) for entry in measured.found), default=0)
    lines += [f"{entry.rewriting.name:<{width}}  {entry.rewriting.identity}" for entry in measured.found]
    return "\n".join(lines)


def as_json(measured: Measurements) -> dict[str, Any]:
    """Everything, every round's ratio included."""
    return {
        "model": measured.model,
        "image_size": measured.image_size,
        "weights": measured.weights,
        "threads": measured.threads,
        "rounds": measured.rounds,
        "versions": dict(measured.versions),
        "frame_ms": measured.frame_ms,
        "frame_graphs_ms": dict(measured.frame),
        "rewritings": [_entry(entry, measured.frame_ms) for entry in measured.found],
    }


def _row(entry: Worth | Absent, frame_ms: float) -> tuple[str, ...]:
    rewriting = entry.rewriting
    words = (rewriting.name, rewriting.where, rewriting.scope)
    if isinstance(entry, Absent):
        return (*words[:2], f"nothing: {entry.reason}", *["-"] * (len(COLUMNS) - LEFT))
    low, high = entry.middle
    return (
        *words,
        f"{rewriting.per_frame:g}",
        f"{entry.without_ms:.2f}",
        f"{entry.with_ms:.2f}",
        f"{entry.ratio:.3f}",
        f"{low:.3f}..{high:.3f}",
        f"{100 * entry.saved_ms / frame_ms:.1f}" if rewriting.per_frame else "-",
        f"{entry.difference:.1e}",
    )


def _entry(entry: Worth | Absent, frame_ms: float) -> dict[str, Any]:
    rewriting = entry.rewriting
    found: dict[str, Any] = {
        "name": rewriting.name,
        "identity": rewriting.identity,
        "graphs": rewriting.where,
        "timed": rewriting.scope,
        "per_frame": rewriting.per_frame,
    }
    if isinstance(entry, Absent):
        return found | {"absent": entry.reason}
    return found | {
        "without_ms": entry.without_ms,
        "with_ms": entry.with_ms,
        "ratio": entry.ratio,
        "ratios": list(entry.ratios),
        "share_of_frame": entry.saved_ms / frame_ms,
        "difference": entry.difference,
        "tolerance": rewriting.tolerance,
    }


def _aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    rows = list(rows)
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    rows.insert(1, ["-" * width for width in widths])
    return [
        "  ".join(
            cell.ljust(width) if i < LEFT else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
