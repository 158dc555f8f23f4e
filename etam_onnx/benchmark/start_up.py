"""How long a fresh process takes from its first import to the first mask."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .clip import Clip
from .contender import Contender
from .rounds import THREAD_VARIABLES

CODE = """
import time
begun = time.perf_counter()
import json, os, sys
from etam_onnx import VideoPredictor
from etam_onnx.benchmark.contender import Contender, open_networks
job = json.loads(sys.argv[1])
networks = open_networks(Contender.from_json(job["contender"]))
loaded = time.perf_counter()
predictor = VideoPredictor(networks)
state = predictor.init_state(job["clip"])
mask = predictor.add_new_points_or_box(state, 0, 1, box=job["box"])[2] > 0
done = time.perf_counter()
print(json.dumps([loaded - begun, done - loaded]), flush=True)
os._exit(0)
"""


@dataclass(frozen=True)
class StartUp:
    """Seconds of one fresh process.

    load: from the first import to loaded networks.  first_mask: from there to the mask of one object, opening the clip
    included.  process: all of it with the start of the interpreter, seen from outside.
    """

    load: float
    first_mask: float
    process: float

    @property
    def total(self) -> float:
        """Import to first mask."""
        return self.load + self.first_mask

    def as_json(self) -> dict[str, float]:
        """The fields as plain JSON values, with their unit."""
        seconds = {f"{name}_s": value for name, value in asdict(self).items()}
        return {"import_to_first_mask_s": self.total, **seconds}


def start_up(contender: Contender, clip: Clip, environment: Mapping[str, str]) -> StartUp:
    """Start once.

    Raises:
        RuntimeError: the process failed; one sentence.
    """
    job: dict[str, Any] = {"contender": contender.as_json(), "clip": str(clip.path), "box": list(clip.first)}
    threads = {name: str(contender.threads) for name in THREAD_VARIABLES}
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(job)],
        env={**os.environ, **threads, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    process = time.perf_counter() - begun
    if done.returncode:
        words = done.stderr.strip().splitlines()[-1:] or [f"it ended with {done.returncode}"]
        raise RuntimeError(f"{contender.name} could not be started afresh: {words[0]}")
    load, first_mask = json.loads(done.stdout.splitlines()[-1])
    return StartUp(load, first_mask, process)
