"""A tracker may run for ever: resident memory does not grow with the number of frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

from small_model import small_model

from etam_onnx import Tracker
from etam_onnx.conversion.bundle_writer import export_bundle

FRAMES = 2000
SETTLED = 400
ALLOWED = 2.0  # MiB; measured 0.5. Keeping memory and mask (2304 bytes each) of both objects on every frame: 10 MiB


def resident_mebibytes() -> float:
    """Resident size of this process (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc to read the resident size")
def test_two_thousand_frames_leave_memory_flat(tmp_path: Path) -> None:
    export_bundle(small_model(), tmp_path / "small", vectors=False)
    tracker = Tracker(tmp_path / "small")
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 255, (120, 160, 3), np.uint8)
    sizes = []
    with pytest.warns(UserWarning, match="the first and the latest stay"):
        for index in range(FRAMES):
            tracker.step(np.roll(frame, index, axis=1))
            if index % 50 == 0:
                tracker.prompt(1, points=[(80, 60)], labels=[1])
                tracker.prompt(2, box=(20, 20, 90, 90))
            sizes.append(resident_mebibytes())
    growth = max(sizes[-SETTLED:]) - max(sizes[SETTLED : 2 * SETTLED])
    print(f"resident after {SETTLED} frames {sizes[SETTLED]:.1f} MiB, after {FRAMES} {sizes[-1]:.1f} MiB")
    assert growth < ALLOWED
