"""Which functions around the graphs are timed under which name."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

from ..runtime.networks import Networks
from .contender import Contender, waiting
from .stopwatch import Stopwatch

SEAMS = (
    ("decode", "runtime.video_file", "VideoFile._read"),
    ("decode", "runtime.frames", "FrameFolder._read"),
    ("resize", "runtime.video_predictor", "video_input"),
    ("fill holes", "runtime.segmenter", "fill_holes"),
    ("upsample", "runtime.frame_result", "foreground"),
    ("draw", "cli.overlay", "Overlay.draw"),
    ("encode", "cli.video_writer", "VideoWriter.write"),
    ("encode", "cli.video_writer", "VideoWriter.finish"),
)
"""(name, module of this package, function or method in it): what `track` does with a frame besides running graphs."""
AROUND = tuple(dict.fromkeys(name for name, _, _ in SEAMS))
"""The names, in the order of a frame."""


def holder(module: str, function: str) -> tuple[Any, str]:
    """The module or class that holds a function, and its name there."""
    found: Any = import_module(f"..{module}", __package__)
    *classes, name = function.split(".")
    for inner in classes:
        found = getattr(found, inner)
    return found, name


def time_surroundings(stopwatch: Stopwatch) -> None:
    """Replace the functions by timed ones, in this process and for good."""
    for part, module, function in SEAMS:
        where, name = holder(module, function)
        setattr(where, name, stopwatch.timed(part, getattr(where, name)))


def timed_networks(networks: Networks, contender: Contender, stopwatch: Stopwatch) -> Networks:
    """The same networks with every graph timed under its name."""
    settle = waiting(contender)
    runners = {name: stopwatch.timed(name, run, settle) for name, run in networks.runners.items()}
    return replace(networks, runners=runners)
