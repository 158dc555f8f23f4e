"""What was measured, as the plain values that the JSON file holds and the tables show; every name ends in its unit."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from statistics import median
from typing import Any

from .rounds import Measured, Round, Turn
from .seams import AROUND
from .start_up import StartUp
from .statistics import Summary
from .stopwatch import FrameTimes


def run_as_json(measured: Measured, objects: int, apart: int, graphs_only: bool, unmeasured: int = 0) -> dict[str, Any]:
    """One contender with so many objects.

    Args:
        measured: its rounds.
        objects: how many were tracked.
        apart: frames at the beginning of each round that are left out: the prompted one, and those with fewer memories
            than later ones.
        graphs_only: nothing was decoded, drawn or written.
        unmeasured: rounds at the beginning of which only the first frame is told.
    """
    graphs: list[str] = measured.facts["graphs"]
    rounds, first = measured.rounds[unmeasured:], measured.rounds[0].frames[0]
    everything = list(chain.from_iterable(round_.frames for round_ in rounds))
    steady = steady_frames(rounds, apart)
    seconds = sum(frame.seconds for frame in steady)
    in_graphs = [in_parts(frame, graphs) for frame in steady]
    run: dict[str, Any] = {
        "contender": measured.contender.name,
        "backend": measured.contender.backend,
        "objects": objects,
        "frame": Summary.of([frame.seconds for frame in steady]).as_json(),
        "first_frame_ms": 1000 * first.seconds,
        "graphs": {name: _part(name, steady, everything, first) for name in graphs},
        "graphs_together": {
            **Summary.of(in_graphs).as_json(),
            "share_percent": 100 * sum(in_graphs) / seconds,
            "first_frame_ms": 1000 * in_parts(first, graphs),
        },
        "around": {name: _part(name, steady, everything, first) for name in AROUND if _seen(name, steady)},
        "around_together": {
            **Summary.of([frame.seconds - inside for frame, inside in zip(steady, in_graphs, strict=True)]).as_json(),
            "share_percent": 100 * (1 - sum(in_graphs) / seconds),
            "first_frame_ms": 1000 * (first.seconds - in_parts(first, graphs)),
        },
        "beside": {name: _beside(name, steady, seconds) for name in AROUND if _beside_seen(name, steady)},
        "peak_memory_mb": measured.peak_memory_bytes / 1e6,
        "rounds": [_round(round_, apart, graphs) for round_ in rounds],
    }
    if not graphs_only:
        run["frames_per_second"] = median(entry["frames_per_second"] for entry in run["rounds"])
    return run


def ratios(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Runs with as many objects in pairs: how many times as long a frame of one takes, over all and by round.

    Every run in PyTorch is compared with each on ONNX Runtime, and the first of these with each of the others.
    """
    found = []
    for objects in dict.fromkeys(run["objects"] for run in runs):
        these = [run for run in runs if run["objects"] == objects]
        ours = [run for run in these if run["backend"] == "onnxruntime"]
        theirs = [run for run in these if run["backend"] == "torch"]
        found += [_ratio(run, one) for run in theirs for one in ours]
        found += [_ratio(ours[0], one) for one in ours[1:]]
    return found


def start_ups_as_json(contender: str, started: Sequence[StartUp]) -> dict[str, Any]:
    """Fresh processes of one contender: the first, and the one in the middle of all."""
    ranked = sorted(started, key=lambda one: one.total)
    return {
        "contender": contender,
        "first": started[0].as_json(),
        "median": ranked[len(ranked) // 2].as_json(),
        "count": len(started),
    }


def turns_as_json(turns: Sequence[Turn], objects: int) -> list[dict[str, Any]]:
    """Who worked when, in seconds from the first turn on."""
    return [
        {
            "objects": objects,
            "contender": turn.contender,
            "round": turn.round,
            "frames": turn.frames,
            "begun_s": turn.begun - turns[0].begun,
            "ended_s": turn.ended - turns[0].begun,
        }
        for turn in turns
    ]


def steady_frames(rounds: Sequence[Round], apart: int) -> list[FrameTimes]:
    """The frames that count: all but the first few of each round."""
    return [frame for round_ in rounds for frame in round_.frames[apart:]]


def in_parts(frame: FrameTimes, names: Sequence[str]) -> float:
    """Seconds of a frame in the parts of these names."""
    return sum(frame.parts.get(name, 0.0) for name in names)


def _ratio(run: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    by_round = [
        one["frame"]["median_ms"] / another["frame"]["median_ms"]
        for one, another in zip(run["rounds"], other["rounds"], strict=True)
    ]
    return {
        "objects": run["objects"],
        "time_of": run["contender"],
        "by_time_of": other["contender"],
        "frame": run["frame"]["median_ms"] / other["frame"]["median_ms"],
        "frame_by_round": by_round,
        "graphs": run["graphs_together"]["median_ms"] / other["graphs_together"]["median_ms"],
    }


def _part(
    name: str, steady: Sequence[FrameTimes], everything: Sequence[FrameTimes], first: FrameTimes
) -> dict[str, Any]:
    """One part per frame, and per call over all frames, as some graphs only run on the first ones."""
    own = [frame.parts.get(name, 0.0) for frame in steady]
    calls = sum(frame.calls.get(name, 0) for frame in everything)
    single = [frame.parts[name] / frame.calls[name] for frame in everything if frame.calls.get(name)]
    return {
        **Summary.of(own).as_json(),
        "share_percent": 100 * sum(own) / sum(frame.seconds for frame in steady),
        "first_frame_ms": 1000 * first.parts.get(name, 0.0),
        "calls": calls,
        "calls_per_frame": sum(frame.calls.get(name, 0) for frame in steady) / len(steady),
        "call_median_ms": 1000 * median(single) if single else None,
    }


def _beside(name: str, steady: Sequence[FrameTimes], seconds: float) -> dict[str, float]:
    """Work on other threads, as a share of the time of the frames it overlaps with."""
    spent = sum(frame.beside.get(name, 0.0) for frame in steady)
    return {"mean_ms": 1000 * spent / len(steady), "share_percent": 100 * spent / seconds}


def _beside_seen(name: str, frames: Sequence[FrameTimes]) -> bool:
    return any(name in frame.beside for frame in frames)


def _seen(name: str, frames: Sequence[FrameTimes]) -> bool:
    return any(name in frame.calls for frame in frames)


def _round(round_: Round, apart: int, graphs: Sequence[str]) -> dict[str, Any]:
    steady = round_.frames[apart:]
    return {
        "duration_s": round_.seconds,
        "finish_ms": 1000 * round_.finish.seconds,
        "frames_per_second": len(round_.frames) / round_.seconds,
        "frame": Summary.of([frame.seconds for frame in steady]).as_json(),
        "graphs_median_ms": 1000 * median(in_parts(frame, graphs) for frame in steady),
        "frames_ms": [1000 * frame.seconds for frame in round_.frames],
        "graphs_ms": [1000 * in_parts(frame, graphs) for frame in round_.frames],
    }
