"""A tracker on disk: one ``.npz`` without pickled objects.

Of a memory only its tokens are stored, so a file goes on with any variant of the graphs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graphs.contract import Geometry
from .memory import MemoryBank, MemoryRules, Remembered
from .object_track import ObjectTrack, Pending
from .pipeline import Array, Memory
from .preprocess import Frame, check_frame
from .prompts import Points
from .segmenter import Prediction

FORMAT = 1
OPTIONS = {"fill_hole_area", "non_overlap_masks"}


@dataclass
class SavedTracker:
    """Everything a tracker is made of besides its networks: those of `model`, found in `bundle`.

    As read from a file, memories are tokens until `attach`.
    """

    bundle: str
    model: str
    options: dict[str, Any]
    index: int
    frame: Frame | None
    tracks: dict[int, ObjectTrack]

    def attach(self, rules: MemoryRules, geometry: Geometry, memory_of: Callable[[Array], Memory]) -> None:
        """Give the memories the capacities and the form of the networks that are used now.

        Raises:
            ValueError: they are of other sizes than this geometry's.
        """
        for track in self.tracks.values():
            track.bank.rules = rules
            entries = [*track.bank.prompted.values(), *track.bank.recent.values()]
            for output in (
                *(entry.output for entry in entries),
                *(waiting.output for waiting in track.pending.values()),
            ):
                _check_shape("mask", output.low_res, (geometry.mask_size, geometry.mask_size))
                _check_shape("object pointer", output.pointer, (geometry.width,))
            for entry in entries:
                if entry.memory is not None:
                    _check_shape("memory", entry.memory, (1, geometry.tokens, geometry.memory_width))
                    entry.memory = memory_of(entry.memory)


def _check_shape(what: str, found: NDArray[Any], expected: tuple[int, ...]) -> None:
    if found.shape != expected:
        raise ValueError(f"a saved {what} has the shape {found.shape}, those of this bundle have {expected}")


def _prediction(output: Prediction, arrays: dict[str, NDArray[Any]], key: str) -> dict[str, float]:
    arrays[f"{key}/low_res"], arrays[f"{key}/pointer"] = output.low_res, output.pointer
    return {"presence": output.presence, "iou": output.iou}


def write_tracker(path: Path, saved: SavedTracker, memory_tokens: Callable[[Memory], Array]) -> None:
    """Write the file beside its name first, then put it in place; `memory_tokens` of the tracker's pipeline."""
    arrays: dict[str, NDArray[Any]] = {}
    if saved.frame is not None:
        arrays["frame"] = saved.frame
    objects = []
    for number, (obj_id, track) in enumerate(saved.tracks.items()):
        entries = []
        for prompted, bank in ((True, track.bank.prompted), (False, track.bank.recent)):
            for frame, entry in bank.items():
                key = f"{number}/{'prompted' if prompted else 'recent'}/{frame}"
                if entry.memory is not None:
                    arrays[f"{key}/memory"] = memory_tokens(entry.memory)
                entries.append({"frame": frame, "prompted": prompted, **_prediction(entry.output, arrays, key)})
        pending = []
        for frame, waiting in track.pending.items():
            key = f"{number}/pending/{frame}"
            arrays[f"{key}/mask"] = waiting.mask
            flags = {"prompted": waiting.prompted, "conditioning": waiting.conditioning}
            pending.append({"frame": frame, **flags, **_prediction(waiting.output, arrays, key)})
        for frame, points in track.points.items():
            arrays[f"{number}/points/{frame}/xy"], arrays[f"{number}/points/{frame}/labels"] = points.xy, points.labels
        tracked = [[frame, reverse] for frame, reverse in track.tracked.items()]
        objects.append(
            {
                "id": int(obj_id),
                "fill_hole_area": int(track.fill_hole_area),
                "corrections_stick": track.corrections_stick,
                "entries": entries,
                "pending": pending,
                "points": list(track.points),
                "tracked": tracked,
            }
        )
    head = {
        "format": FORMAT,
        "bundle": saved.bundle,
        "model": saved.model,
        "options": saved.options,
        "index": saved.index,
        "objects": objects,
    }
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as stream:
            np.savez_compressed(stream, head=np.asarray(json.dumps(head)), **arrays)  # type: ignore[arg-type]
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_tracker(path: Path) -> SavedTracker:
    """Read a file written by `write_tracker`; its memories get their capacities by `SavedTracker.attach`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a saved tracker.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no saved tracker at {path}")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        head = json.loads(str(arrays["head"]))
        if head["format"] != FORMAT:
            raise ValueError(f"this package reads saved trackers of format {FORMAT}, found {head['format']}")
        if set(head["options"]) != OPTIONS:
            raise ValueError(f"expected the options {sorted(OPTIONS)}, found {sorted(head['options'])}")
        frame = check_frame(arrays["frame"]) if "frame" in arrays else None
        tracks = {int(obj["id"]): _read_object(number, obj, arrays) for number, obj in enumerate(head["objects"])}
        return SavedTracker(str(head["bundle"]), str(head["model"]), head["options"], int(head["index"]), frame, tracks)
    except KeyError as error:
        raise ValueError(f"{path} is not a saved tracker: it lacks {error}") from error
    except Exception as error:  # a damaged archive fails in a dozen unrelated ways
        raise ValueError(f"{path} is not a saved tracker: {error}") from error


def _read_object(number: int, obj: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> ObjectTrack:
    def prediction(key: str, numbers: dict[str, Any]) -> Prediction:
        return Prediction(arrays[f"{key}/low_res"], arrays[f"{key}/pointer"], numbers["presence"], numbers["iou"])

    track = ObjectTrack(MemoryBank(MemoryRules()), obj["fill_hole_area"], obj["corrections_stick"])
    for entry in obj["entries"]:
        key = f"{number}/{'prompted' if entry['prompted'] else 'recent'}/{entry['frame']}"
        bank = track.bank.prompted if entry["prompted"] else track.bank.recent
        bank[entry["frame"]] = Remembered(arrays.get(f"{key}/memory"), prediction(key, entry))
    for waiting in obj["pending"]:
        key = f"{number}/pending/{waiting['frame']}"
        track.pending[waiting["frame"]] = Pending(
            prediction(key, waiting), arrays[f"{key}/mask"], waiting["prompted"], waiting["conditioning"]
        )
    for frame in obj["points"]:
        key = f"{number}/points/{frame}"
        track.points[frame] = Points(arrays[f"{key}/xy"], arrays[f"{key}/labels"])
    track.tracked = {frame: reverse for frame, reverse in obj["tracked"]}
    return track
