"""The short clip on which an export is measured: frames, prompts, and every call of every graph while they are tracked.

It visits each branch: click, box, mask, correction with memory, one memory and several, a full set of slots,
tracked and prompted memories, an object that is there and one that is not.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graphs.contract import memory_attention_name, memory_port
from ..runtime.backend import Handle, Runner
from ..runtime.networks import Networks
from ..runtime.video_predictor import VideoPredictor

Array = NDArray[np.float32]
HEIGHT, WIDTH, FRAMES = 120, 160, 4
SEED = 7


def render_frames() -> list[NDArray[np.uint8]]:
    """A textured ellipse that moves over a textured background; uint8 RGB, the same on every machine."""
    rng = np.random.Generator(np.random.PCG64(SEED))
    background = rng.integers(40, 160, (HEIGHT // 8, WIDTH // 8, 3)).repeat(8, 0).repeat(8, 1)
    texture = rng.integers(90, 255, (HEIGHT // 4, WIDTH // 4, 3)).repeat(4, 0).repeat(4, 1)
    frames = []
    for index in range(FRAMES):
        inside = ellipse(index)
        frames.append(np.where(inside[..., None], np.roll(texture, 6 * index, 1), background).astype(np.uint8))
    return frames


def ellipse(index: int) -> NDArray[np.bool_]:
    """Where the moving object is on a frame, (H, W)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return ((x - 50 - 9 * index) / 26) ** 2 + ((y - 60 - 2 * index) / 18) ** 2 <= 1


@dataclass
class Call:
    """One run of a graph: its named inputs and what came out, as float32 arrays."""

    graph: str
    inputs: dict[str, Array]
    outputs: dict[str, Array]


@dataclass
class Recorder:
    """Networks that write down every call."""

    networks: Networks
    calls: list[Call] = field(default_factory=list)

    def recording(self) -> Networks:
        """The same networks, recorded."""
        runners = {name: self._record(name, run) for name, run in self.networks.runners.items()}
        return replace(self.networks, runners=runners)

    def _record(self, name: str, run: Runner) -> Runner:
        def runner(**inputs: Handle) -> dict[str, Handle]:
            outputs = run(**inputs)
            self.calls.append(Call(name, _arrays(inputs), _arrays(outputs)))
            return outputs

        return runner


def _arrays(tensors: dict[str, Handle]) -> dict[str, Array]:
    """Host copies of handles of any backend that knows ``numpy()`` or is an array."""
    return {
        name: np.array(value if isinstance(value, np.ndarray) else value.numpy(), np.float32)
        for name, value in tensors.items()
    }


@dataclass(frozen=True)
class Result:
    """The answer for one object on one frame: low-resolution logits, presence logit, predicted IoU."""

    frame: int
    obj_id: int
    low_res: Array
    presence: float
    iou: float


SCRIPT: tuple[dict[str, Any], ...] = (
    {"do": "points", "frame": 0, "object": 1, "points": [[50, 60]], "labels": [1]},
    {"do": "points", "frame": 0, "object": 1, "points": [[50, 60], [100, 20]], "labels": [1, 0]},
    {"do": "points", "frame": 0, "object": 2, "box": [24, 42, 76, 78]},
    {"do": "mask", "frame": 0, "object": 2, "mask": ellipse(0)},
    {"do": "mask", "frame": 0, "object": 3, "mask": np.zeros((HEIGHT, WIDTH), bool)},
    {"do": "propagate"},
    {"do": "points", "frame": 2, "object": 1, "points": [[68, 64], [20, 100]], "labels": [1, 0]},
    {"do": "propagate", "start": 2, "max": 1},
)
"""What is done, in order.

A click, the same refined, a box, a mask in its place, an object that is not there, a correction with memory.
"""


def play(networks: Networks, frames: list[NDArray[np.uint8]]) -> list[Result]:
    """Act out the script; after each step the answers of all objects on the frame, in order of the objects."""
    predictor = VideoPredictor(networks)
    state = predictor.init_state(frames)
    results: list[Result] = []

    def note(frame: int) -> None:
        for obj_id, track in state.objects.items():
            output = track.output(frame)
            if output is not None:
                results.append(Result(frame, obj_id, output.low_res, output.presence, output.iou))

    for step in SCRIPT:
        if step["do"] == "propagate":
            for frame, _, _ in predictor.propagate_in_video(state, step.get("start"), step.get("max")):
                note(frame)
            continue
        where = (state, step["frame"], step["object"])
        if step["do"] == "mask":
            predictor.add_new_mask(*where, step["mask"])
        else:
            predictor.add_new_points_or_box(*where, step.get("points"), step.get("labels"), box=step.get("box"))
        note(step["frame"])
    return results


def record(networks: Networks) -> tuple[list[NDArray[np.uint8]], list[Call], list[Result]]:
    """Play the scenario on `networks` and add the calls it cannot reach: full slots, and the mask of an absent
    object.
    """
    recorder = Recorder(networks)
    recorded = recorder.recording()
    frames = render_frames()
    results = play(recorded, frames)
    recorder.calls = [_with_exact_threshold(networks, call) for call in recorder.calls]
    recorded = recorder.recording()
    _fill_all_slots(recorded, recorder.calls)
    _remember_absence(recorded, recorder.calls)
    return frames, recorder.calls, results


def _with_exact_threshold(networks: Networks, call: Call) -> Call:
    """A thresholded memory again, from logits rounded to 1/64.

    Upsampling such numbers by four is exact in any order of summation, so no pixel can fall on either side of the
    threshold by rounding alone and the comparison of two runtimes is not a lottery.
    """
    if call.graph != "memory_encoder" or not call.inputs["binarize"].item():
        return call
    rounded = np.round(np.clip(call.inputs["mask_logits"], -100, 100) * 64) / 64
    inputs = {**call.inputs, "mask_logits": rounded.astype(np.float32)}
    return Call(call.graph, inputs, _arrays(networks.runners[call.graph](**inputs)))


def _fill_all_slots(networks: Networks, calls: list[Call]) -> None:
    """Call every memory-attention graph once with all slots used and once with all but one, memories repeating."""
    for slots in networks.manifest.geometry.memory_counts:
        for used in sorted({slots, max(slots - 1, 1)}):
            attend_to(networks, calls, slots, used)


def attend_to(networks: Networks, calls: list[Call], slots: int, used: int) -> None:
    """Call the memory-attention graph of that many slots with recorded features, memories and pointers, repeating.

    Where slots stay unused, so do half of the pointers.  They go in as host arrays, which every backend takes on any
    port.
    """
    geometry = networks.manifest.geometry
    memories = [call.outputs["memory"] for call in calls if call.graph == "memory_encoder"]
    features = next(call.outputs["features"] for call in calls if call.graph == "image_encoder")
    pointers = [call.outputs["mask_pointers"] for call in calls if call.graph == "mask_decoder"]
    row = np.zeros((slots, geometry.temporal_rows), np.float32)
    for slot in range(used):
        row[slot, -1 if slot < used - geometry.recent_memories else used - 1 - slot] = 1
    filled = np.resize(np.concatenate(pointers), (geometry.pointer_slots, geometry.width)).astype(np.float32)
    pointer_used = np.ones((geometry.pointer_slots, 1), np.float32)
    if used < slots:
        filled[geometry.pointer_slots // 2 :] = pointer_used[geometry.pointer_slots // 2 :] = 0
    networks.runners[memory_attention_name(slots)](
        features=features,
        memory_row=row,
        pointers=filled,
        pointer_used=pointer_used,
        **{memory_port(slot): memories[slot % len(memories)] for slot in range(slots)},
    )


def _remember_absence(networks: Networks, calls: list[Call]) -> None:
    geometry = networks.manifest.geometry
    features = next(call.outputs["features"] for call in calls if call.graph == "image_encoder")
    absent = np.full((1, 1, geometry.mask_size, geometry.mask_size), networks.manifest.rules.absent_logit, np.float32)
    networks.runners["memory_encoder"](features=features, mask_logits=absent, binarize=np.zeros(1, np.float32))
