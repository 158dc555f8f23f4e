"""The original's video procedure for separate objects, retold from its description, for comparison with ours.

Slow and plain on purpose: dictionaries by frame, no capacities besides the choice of prompted frames, nothing shared
with the runtime but the resampling of masks.  It runs on the same fake networks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from fake_networks import DOWNSAMPLE, DOWNSAMPLE_BIAS, LABELS, FakeModel, numbered_frame
from numpy.typing import NDArray

from etam_onnx.runtime.networks import Networks
from etam_onnx.runtime.resize import resize

Array = NDArray[np.float32]
Points = list[tuple[float, float, int]]
ABSENT = -1024.0


@dataclass
class Output:
    """One object on one frame; `for_memory` are the logits its memory is made of."""

    logits: Array
    for_memory: Array
    pointer: Array
    from_prompt: bool
    memory: Any = None


@dataclass
class Thing:
    """One object: four stores of outputs, its points, and the direction in which frames were visited."""

    prompted: dict[int, Output] = field(default_factory=dict)
    tracked: dict[int, Output] = field(default_factory=dict)
    new_prompted: dict[int, Output] = field(default_factory=dict)
    new_tracked: dict[int, Output] = field(default_factory=dict)
    points: dict[int, Points] = field(default_factory=dict)
    visited: dict[int, bool] = field(default_factory=dict)

    def latest(self, frame: int) -> Output | None:
        for store in (self.new_prompted, self.new_tracked, self.prompted, self.tracked):
            if frame in store:
                return store[frame]
        return None


@dataclass
class OriginalProcedure:
    """A video of numbered frames of `height` x `width` pixels."""

    fake: FakeModel
    frames: int
    height: int = 48
    width: int = 80
    corrections_stick: bool = False
    clear_around: bool = False
    attended_prompts: int = -1
    things: dict[int, Thing] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.networks: Networks = self.fake.networks()

    def click(self, frame: int, name: int, points: Points, keep_old: bool = False) -> Array:
        """Points in pixels of the video."""
        thing = self.things.setdefault(name, Thing())
        size, shape = np.float32(self.fake.geometry.image_size), np.float32([self.width, self.height])
        scaled = [(*(np.float32([x, y]) / shape * size).tolist(), label) for x, y, label in points]
        if keep_old:
            scaled = thing.points.get(frame, []) + scaled
        thing.points[frame] = scaled
        first = frame not in thing.visited
        before = thing.latest(frame)
        given = None if before is None else np.clip(before.logits, -32, 32)
        features = self._features(frame)
        known = (
            features["features_without_memory"] if first else self._attend(thing, features, frame, thing.visited[frame])
        )
        output = self._decode(known, scaled, given, several=len(scaled) <= 1, from_prompt=True)
        (thing.new_prompted if first or self.corrections_stick else thing.new_tracked)[frame] = output
        return self._show(frame)

    def paint(self, frame: int, name: int, mask: NDArray[np.bool_]) -> Array:
        """A mask (height, width) of the video."""
        thing, g = self.things.setdefault(name, Thing()), self.fake.geometry
        square = (resize(mask.astype(np.float32), g.image_size, g.image_size, antialias=True) >= 0.5).astype(np.float32)
        thing.points.pop(frame, None)
        dense = np.full((g.mask_size, g.mask_size), DOWNSAMPLE_BIAS, np.float32)
        for tap, weight in enumerate(DOWNSAMPLE):
            dense += np.float32(weight) * square[tap // 4 :: 4, tap % 4 :: 4]
        output = self._decode(self._features(frame)["features"], [], dense, several=False, from_prompt=True)
        if not square.any():
            output.pointer = np.full(g.width, -1, np.float32)
        output.logits = output.for_memory = resize(square * 20 - 10, g.mask_size, g.mask_size, antialias=True)
        first = frame not in thing.visited
        (thing.new_prompted if first or self.corrections_stick else thing.new_tracked)[frame] = output
        return self._show(frame)

    def propagate(self, start: int | None, count: int | None, reverse: bool) -> Iterator[tuple[int, list[int], Array]]:
        """What the original yields."""
        for thing in self.things.values():
            for new, store in ((thing.new_tracked, thing.tracked), (thing.new_prompted, thing.prompted)):
                for frame, output in new.items():
                    output.memory = self._memorize(frame, output)
                    store[frame] = output
                    if self.clear_around:
                        self._clear(thing, frame)
                new.clear()
            for frame in thing.prompted:
                thing.tracked.pop(frame, None)
        begin = min(min(thing.prompted) for thing in self.things.values()) if start is None else start
        count = self.frames if count is None else count
        if reverse:
            order = range(begin, max(begin - count, 0) - 1, -1) if begin > 0 else range(0)
        else:
            order = range(begin, min(begin + count, self.frames - 1) + 1)
        for frame in order:
            for thing in self.things.values():
                if frame in thing.prompted:
                    if self.clear_around:
                        self._clear(thing, frame)
                else:
                    known = self._attend(thing, self._features(frame), frame, reverse)
                    output = self._decode(known, [], None, several=True, from_prompt=False)
                    output.memory = self._memorize(frame, output)
                    thing.tracked[frame] = output
                thing.visited[frame] = reverse
            yield frame, list(self.things), self._show(frame)

    def withdraw(self, frame: int, name: int) -> Array:
        """Clear the prompts of an object on a frame."""
        thing = self.things[name]
        for store in (thing.points, thing.new_prompted, thing.new_tracked):
            store.pop(frame, None)
        if frame in thing.prompted:
            thing.tracked[frame] = thing.prompted.pop(frame)
            thing.visited.pop(frame, None)
        return self._show(frame)

    def _features(self, frame: int) -> dict[str, Any]:
        size = self.fake.geometry.image_size
        image = np.broadcast_to(numbered_frame(frame)[0, 0, :, None, None], (3, size, size)).astype(np.float32)
        return self.networks.runners["image_encoder"](image=image[None])

    def _attend(self, thing: Thing, features: dict[str, Any], frame: int, reverse: bool) -> Any:
        g, towards_past = self.fake.geometry, 1 if reverse else -1
        chosen = self._closest(thing.prompted, frame)
        others = {t: output for t, output in thing.prompted.items() if t not in chosen}
        read = [(thing.prompted[t].memory, g.recent_memories) for t in chosen]
        pointers = [thing.prompted[t].pointer for t in chosen if t == frame or (t > frame) == reverse]
        for distance in range(1, 16):
            t = frame + towards_past * distance
            output = thing.tracked.get(t, others.get(t))
            if output is not None:
                pointers.append(output.pointer)
                if distance <= g.recent_memories:
                    read.append((output.memory, distance - 1))
        slots = min(n for n in g.memory_counts if n >= len(read))
        inputs: dict[str, Any] = {"features": features["features"]}
        for slot in range(slots):
            inputs[f"memory_{slot:02d}"] = read[min(slot, len(read) - 1)][0]
        inputs["memory_row"] = np.zeros((slots, g.temporal_rows), np.float32)
        for slot, (_, row) in enumerate(read):
            inputs["memory_row"][slot, row] = 1
        inputs["pointers"] = np.zeros((g.pointer_slots, g.width), np.float32)
        inputs["pointer_used"] = np.zeros((g.pointer_slots, 1), np.float32)
        for slot, pointer in enumerate(pointers):
            inputs["pointers"][slot], inputs["pointer_used"][slot] = pointer, 1
        return self.networks.runners[f"memory_attention_{slots}"](**inputs)["fused"]

    def _closest(self, prompted: dict[int, Output], frame: int) -> list[int]:
        count = self.fake.geometry.prompted_frames if self.attended_prompts < 0 else self.attended_prompts
        if len(prompted) <= count:
            return list(prompted)
        chosen = []
        if any(t < frame for t in prompted):
            chosen.append(max(t for t in prompted if t < frame))
        if any(t >= frame for t in prompted):
            chosen.append(min(t for t in prompted if t >= frame))
        rest = sorted((abs(t - frame), t) for t in prompted if t not in chosen)
        return chosen + [t for _, t in rest[: count - len(chosen)]]

    def _decode(self, known: Any, points: Points, given: Array | None, several: bool, from_prompt: bool) -> Output:
        g = self.fake.geometry
        tokens = [*(points or [(0.0, 0.0, -1)]), (0.0, 0.0, -1)]
        xy, label = np.zeros((1, g.prompt_slots, 2), np.float32), np.zeros((1, g.prompt_slots, 5), np.float32)
        for slot, (x, y, kind) in enumerate(tokens):
            xy[0, slot], label[0, slot, LABELS.index(kind)] = (x, y), 1
        out = self.networks.runners["mask_decoder"](
            features=known,
            points=xy,
            point_label=label,
            mask_input=(np.zeros((g.mask_size, g.mask_size), np.float32) if given is None else given)[None, None],
            mask_used=np.asarray([given is not None], np.float32),
        )
        masks, iou = out["mask_logits"][0], out["iou"][0]
        best = 1 + int(iou[1:].argmax())
        index, token = best, best
        if not several:
            wide, narrow = (masks[0] > -0.05).sum(), (masks[0] > 0.05).sum()
            index, token = (0 if narrow >= 0.98 * wide else best), 0
        logits, pointer = masks[index], out["mask_pointers"][token]
        if out["presence"][0] <= 0:
            logits, pointer = np.full_like(logits, ABSENT), np.full(g.width, -1, np.float32)
        return Output(logits, logits, pointer, from_prompt)

    def _memorize(self, frame: int, output: Output) -> Any:
        return self.networks.runners["memory_encoder"](
            features=self._features(frame)["features"],
            mask_logits=output.for_memory[None, None],
            binarize=np.asarray([output.from_prompt], np.float32),
        )["memory"]

    def _clear(self, thing: Thing, frame: int) -> None:
        for t in range(frame - 7, frame + 8):
            thing.tracked.pop(t, None)

    def _show(self, frame: int) -> Array:
        shown = np.full((len(self.things), 1, self.height, self.width), ABSENT, np.float32)
        for row, thing in enumerate(self.things.values()):
            output = thing.latest(frame)
            if output is not None:
                shown[row, 0] = resize(output.logits, self.height, self.width)
        return shown
