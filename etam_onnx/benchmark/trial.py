"""A whole benchmark: the clip is made, every number of objects is tracked by every contender, fresh processes start."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..graphs.bundle import Bundle
from .clip import Clip, clip_of, drawn_clip
from .contender import Contender
from .floor import NAME, Floor, speed_as_json, with_floor
from .machine import machine
from .mkl import build_unlocking_library, preloaded
from .results import ratios, run_as_json, start_ups_as_json, turns_as_json
from .rounds import Measured, measure
from .start_up import StartUp, start_up
from .worker import Work

FORMAT = 2
"""Version of the JSON file's layout."""
START_UPS = 3


@dataclass(frozen=True)
class Trial:
    """What is asked for.

    contenders: variants of the bundle, then PyTorch.  objects: numbers of objects, each tracked for itself.
    frames: of each round.  turn: frames until the next contender works, None for a whole round.  video: None for the
    clip that the package draws, at `size`.  compiler: with which the library is made that unlocks MKL.
    floor: what is counted and multiplied to tell how far the graphs are from their arithmetic.
    """

    bundle: Bundle
    contenders: tuple[Contender, ...]
    objects: tuple[int, ...]
    frames: int
    rounds: int
    turn: int | None
    video: Path | None
    size: tuple[int, int]
    fill_holes: int
    graphs_only: bool
    compiler: str | None = None
    floor: Floor | None = None

    @property
    def apart(self) -> int:
        """Frames at the beginning of a round that have fewer memories than all later ones, the prompted one first."""
        return self.bundle.manifest.geometry.recent_memories + 1

    @property
    def unmeasured(self) -> int:
        """Rounds before those that count: one where something is compiled when it is first met."""
        return int(any(contender.compiled for contender in self.contenders))

    def run(self) -> dict[str, Any]:
        """Measure.

        Returns:
            The content of the JSON file.

        Raises:
            ValueError, OSError, RuntimeError: the clip or a contender cannot be used; one sentence.
        """
        before = machine()
        with tempfile.TemporaryDirectory(prefix="etam-onnx-bench-") as name:
            folder = Path(name)
            clip = (
                drawn_clip(folder, self.size, self.frames) if self.video is None else clip_of(self.video, self.frames)
            )
            return {"format": FORMAT, "machine": before, "work": self._work(clip), **self._measured(clip, folder)}

    def _work(self, clip: Clip) -> dict[str, Any]:
        manifest = self.bundle.manifest
        return {
            "model": manifest.model,
            "image_size": manifest.geometry.image_size,
            "clip": clip.source,
            "size": list(clip.size),
            "objects": list(self.objects),
            "frames": self.frames,
            "frames_apart": self.apart,
            "rounds": self.rounds,
            "rounds_before": self.unmeasured,
            "frames_in_a_turn": self.turn or self.frames,
            "fill_holes": self.fill_holes,
            "graphs_only": self.graphs_only,
        }

    def _measured(self, clip: Clip, folder: Path) -> dict[str, Any]:
        from tqdm import tqdm

        environments = self._environments(folder)
        beside = self._products(folder)
        runs, turns, speeds = [], [], []
        facts: dict[str, dict[str, Any]] = {}
        rounds = self.unmeasured + self.rounds
        total = self.frames * rounds * (len(self.contenders) + len(beside)) * len(self.objects)
        with ExitStack() as stack:
            bar = stack.enter_context(tqdm(total=total, desc="measuring", unit=" frames", disable=None))
            for objects in self.objects:
                jobs = [
                    (contender, self._job(clip, objects, folder / f"{number}.mp4"), environments[contender.name])
                    for number, contender in enumerate(self.contenders)
                ]
                jobs += [(one, replace(jobs[0][1], products=files), {}) for one, files in beside]
                measured, order = measure(jobs, rounds, bar.update)
                tracked, others = measured[: len(self.contenders)], measured[len(self.contenders) :]
                found = [run_as_json(one, objects, self.apart, self.graphs_only, self.unmeasured) for one in tracked]
                if self.floor is not None:
                    speeds.append(speed_as_json(self.floor, others[0], objects, self.unmeasured))
                    found = [self._with_floor(run, one, speeds[-1]) for run, one in zip(found, tracked, strict=True)]
                runs += found
                turns += turns_as_json(order, objects)
                facts = {one.contender.name: one.facts for one in tracked}
        return {
            "contenders": [_described(contender, facts[contender.name]) for contender in self.contenders],
            "runs": runs,
            "ratios": ratios(runs),
            "floor": None if self.floor is None else {"speeds": speeds, "counts": self.floor.counts},
            "start_up": [] if self.graphs_only else self._start_ups(clip, environments),
            "turns": turns,
        }

    def _job(self, clip: Clip, objects: int, output: Path) -> Work:
        return Work(
            clip=str(clip.path),
            boxes=[list(box) for box in clip.boxes(objects)],
            frames=self.frames,
            turn=self.turn or self.frames,
            fill_holes=self.fill_holes,
            output=None if self.graphs_only else str(output),
            graphs_only=self.graphs_only,
        )

    def _products(self, folder: Path) -> list[tuple[Contender, list[list[str]]]]:
        """Who measures the speed of products, and the files for it; nobody without a floor."""
        if self.floor is None:
            return []
        files = []
        for number, products in enumerate(self.floor.products):
            path = folder / f"products_{number}.onnx"
            path.write_bytes(products.model)
            files.append([products.name, str(path)])
        first = self.contenders[0]
        return [(replace(first, name=NAME, backend="products", variant=None, checkpoint=None), files)]

    def _with_floor(self, run: dict[str, Any], measured: Measured, speed: dict[str, Any]) -> dict[str, Any]:
        counts = self.floor.counts.get(measured.facts.get("variant", "")) if self.floor is not None else None
        return run if counts is None else with_floor(run, counts, speed)

    def _environments(self, folder: Path) -> dict[str, Mapping[str, str]]:
        unlocked: Mapping[str, str] = {}
        if self.compiler is not None:
            unlocked = preloaded(build_unlocking_library(folder, self.compiler))
        return {contender.name: unlocked if contender.mkl_fast else {} for contender in self.contenders}

    def _start_ups(self, clip: Clip, environments: Mapping[str, Mapping[str, str]]) -> list[dict[str, Any]]:
        """Fresh processes, in turns; nothing is compiled for them, as that would be all they show."""
        started: dict[str, list[StartUp]] = {contender.name: [] for contender in self.contenders}
        for _ in range(START_UPS):
            for contender in self.contenders:
                plain = replace(contender, compiled=False)
                started[contender.name].append(start_up(plain, clip, environments[contender.name]))
        return [start_ups_as_json(name, times) for name, times in started.items()]


def _described(contender: Contender, facts: dict[str, Any]) -> dict[str, Any]:
    """A contender with what was found out where it ran."""
    known: dict[str, Any] = {name: facts[name] for name in ("variant", "precision") if name in facts}
    return {**contender.as_json(), **known, "facts": facts}
