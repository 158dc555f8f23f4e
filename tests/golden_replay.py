"""Acting out the golden files of the original implementation on any networks, and the error of each stage.

Each file holds a scenario (frames, prompts, propagations) and what the original computed: see the README beside them.
"""

from __future__ import annotations

import importlib.util
import json
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from etam_onnx import ImagePredictor, VideoPredictor
from etam_onnx.model import EfficientTAM, build_model, load_weights
from etam_onnx.runtime.networks import Networks

VIDEO_FILES = ("golden_click_512", "golden_two_objects_512", "golden_click_1024_pooled")
IMAGE_FILE = "golden_image_512"
THUMB = 8
"""The files keep every 8th row and column of video-size logits."""


@dataclass
class Errors:
    """Largest max|a - b| / max|b| per kind of value, the worst share of equal mask pixels, and what was compared."""

    worst: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    agreement: float = 1.0
    compared: set[str] = field(default_factory=set)

    def add(self, key: str, kind: str, found: np.ndarray, expected: np.ndarray) -> None:
        """Compare one array of the file."""
        assert found.shape == expected.shape, (key, found.shape, expected.shape)
        error = float(np.abs(found - expected).max() / np.abs(expected).max())
        self.worst[kind] = max(self.worst[kind], error)
        if kind == "low_res_logits":
            self.agreement = min(self.agreement, float(((found > 0) == (expected > 0)).mean()))
        self.compared.add(key)


@cache
def reference_model(reference: Path, config: str) -> EfficientTAM:
    """The configuration with the deterministic weights that the golden files were made with."""
    spec = importlib.util.spec_from_file_location("deterministic_weights", reference / "deterministic_weights.py")
    assert spec and spec.loader
    weights = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(weights)
    published = json.loads((reference / "state_dicts.json").read_text())
    shapes = published["shapes"][published["published"][config]["shapes"]]
    model = build_model(config).eval()
    load_weights(model, {name: torch.from_numpy(v) for name, v in weights.state_dict(shapes).items()})
    return model


def read_golden(reference: Path, name: str) -> tuple[dict[str, np.ndarray], dict]:
    """The arrays of a golden file and its scenario."""
    with np.load(reference / f"{name}.npz") as archive:
        arrays = {key: archive[key] for key in archive.files}
    return arrays, json.loads(str(arrays.pop("scenario")))


def read_frames(reference: Path, scenario: dict) -> list[np.ndarray]:
    """The scenario's frames, uint8 RGB (H, W, 3)."""
    return [np.asarray(Image.open(reference / "frames" / f"{i:05d}.jpg")) for i in scenario["frames"]]


def replay_video(reference: Path, name: str, networks: Networks) -> Errors:
    """Act out a video scenario; every array of the file except stage outputs is compared."""
    golden, scenario = read_golden(reference, name)
    frames = read_frames(reference, scenario)
    predictor = VideoPredictor(networks, add_all_frames_to_correct_as_cond=False)
    state = predictor.init_state(frames)
    errors = Errors()

    def compare(action: int, frame: int, ids: list[int], logits: np.ndarray) -> None:
        for obj_id, at_video_size in zip(ids, logits, strict=True):
            output = state.objects[obj_id].output(frame)
            values = {"video_logits_thumb": at_video_size[0, ::THUMB, ::THUMB]}
            if output is not None:
                values |= {
                    "low_res_logits": output.low_res,
                    "object_pointer": output.pointer,
                    "object_score": np.asarray([output.presence], np.float32),
                }
            for kind, found in values.items():
                key = f"{action}/{frame}/{obj_id}/{kind}"
                if key in golden:
                    errors.add(key, kind, found, golden[key])

    for number, action in enumerate(scenario["actions"]):
        if action["do"] == "propagate":
            for answer in predictor.propagate_in_video(state, max_frame_num_to_track=action.get("max")):
                compare(number, *answer)
        elif action["do"] == "mask":
            mask = ellipse(action["mask_ellipse"], frames[0].shape[:2])
            compare(number, *predictor.add_new_mask(state, action["frame"], action["object"], mask))
        else:
            prompt = {key: action.get(key) for key in ("points", "labels", "box")}
            where = (state, action["frame"], action["object"])
            compare(number, *predictor.add_new_points_or_box(*where, **prompt))
    expected = {key for key in golden if not key.startswith("stage/")}
    assert errors.compared == expected, sorted(expected - errors.compared)
    return errors


def replay_image(reference: Path, networks: Networks) -> Errors:
    """Ask the image predictor the golden queries."""
    golden, scenario = read_golden(reference, IMAGE_FILE)
    predictor = ImagePredictor(networks)
    predictor.set_image(np.asarray(Image.open(reference / scenario["image"]).convert("RGB")))
    errors = Errors()
    for number, query in enumerate(scenario["queries"]):
        logits, iou, low_res = predictor.predict(**query, return_logits=True)
        errors.add(f"{number}/iou", "iou", iou, golden[f"{number}/iou"])
        errors.add(f"{number}/low_res_logits", "low_res_logits", low_res, golden[f"{number}/low_res_logits"])
        errors.add(
            f"{number}/logits_thumb", "logits_thumb", logits[:, ::THUMB, ::THUMB], golden[f"{number}/logits_thumb"]
        )
    assert errors.compared == set(golden)
    return errors


def ellipse(parameters: list[float], shape: tuple[int, int]) -> np.ndarray:
    """The filled ellipse (cx, cy, rx, ry) in pixels as a boolean mask (H, W)."""
    cx, cy, rx, ry = parameters
    y, x = np.mgrid[: shape[0], : shape[1]]
    return ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1
