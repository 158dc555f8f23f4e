"""The original's golden values through exported graphs on ONNX Runtime, and all published configurations."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from golden_replay import (  # noqa: E402
    IMAGE_FILE,
    VIDEO_FILES,
    Errors,
    read_golden,
    reference_model,
    replay_image,
    replay_video,
)

from etam_onnx import Bundle, VideoPredictor  # noqa: E402
from etam_onnx.config import CONFIGS  # noqa: E402
from etam_onnx.conversion.bundle_writer import export_bundle  # noqa: E402
from etam_onnx.conversion.portable_rules import breaches  # noqa: E402
from etam_onnx.runtime.networks import Networks  # noqa: E402
from etam_onnx.torch_backend import torch_networks  # noqa: E402

LOGITS = 2e-3  # one pixel of a thresholded mask that falls on the other side of 0 costs 2e-4
SCALARS = 5e-4
AGREEMENT = 0.999
PUBLISHED = [name for name in CONFIGS if name.startswith("efficienttam")]


@pytest.fixture(scope="module")
def networks_of(reference_dir: Path, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """Networks of a configuration, exported once: the variant they open by default, and few numbers of memories.

    All of the default export is measured by `test_every_published_configuration_exports`.
    """
    folder = tmp_path_factory.mktemp("published")

    @cache
    def networks(config: str) -> Networks:
        model = reference_model(reference_dir, config)
        export_bundle(model, folder / config, variants=("ort",), memory_counts=(7,), vectors=False)
        return Networks.open(folder / config)

    return networks


def check(errors: Errors) -> None:
    assert errors.agreement >= AGREEMENT
    for kind, error in errors.worst.items():
        assert error < (LOGITS if "logits" in kind else SCALARS), (kind, error)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if "1024" in name else ()) for name in VIDEO_FILES]
)
def test_video_reproduces_the_original(reference_dir: Path, name: str, networks_of) -> None:  # type: ignore[no-untyped-def]
    check(replay_video(reference_dir, name, networks_of(read_golden(reference_dir, name)[1]["config"])))


def test_image_reproduces_the_original(reference_dir: Path, networks_of) -> None:  # type: ignore[no-untyped-def]
    check(replay_image(reference_dir, networks_of(read_golden(reference_dir, IMAGE_FILE)[1]["config"])))


@pytest.mark.slow
@pytest.mark.parametrize("config", PUBLISHED)
def test_every_published_configuration_exports(reference_dir: Path, config: str, tmp_path: Path) -> None:
    """Parity of every graph is measured by the export; here the rules, and a few frames against PyTorch."""
    model = reference_model(reference_dir, config)
    manifest = export_bundle(model, tmp_path / config, vectors=False)
    assert max(entry["error"] for entry in manifest.parity["portable"]) < 1e-5
    import onnx

    for path in Bundle.open(tmp_path / config).graph_paths("portable").values():
        assert breaches(onnx.load(path, load_external_data=False)) == []
    frames = [np.random.default_rng(i).integers(0, 255, (54, 96, 3), np.uint8) for i in range(3)]
    answers = []
    for networks in (torch_networks(model), Networks.open(tmp_path / config)):
        predictor = VideoPredictor(networks)
        state = predictor.init_state(frames)
        predictor.add_new_points_or_box(state, 0, 1, [[40, 20]], [1])
        answers.append(np.stack([logits for _, _, logits in predictor.propagate_in_video(state)]))
    assert np.abs(answers[0] - answers[1]).max() / np.abs(answers[0]).max() < LOGITS
