"""The README's Python example, run as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import av
import numpy as np


def test_the_example_tracks_a_clip(repository: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", n_frames=4)
    (example,) = re.findall(r"```python\n(.*?)```", (repository / "README.md").read_text(), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    streamed, propagated = lines[:4], lines[4:]
    assert [line.split(" ", 1)[0] for line in streamed] == ["0", "1", "2", "3"]
    assert [line.split(" [")[:2] for line in propagated] == [[str(number), "1]"] for number in range(4)]
    # Streaming and propagating are the same loop, so the masks have the same number of pixels.
    assert [line.split("[")[-1] for line in streamed] == [line.split("[")[-1] for line in propagated]


def write_clip(path: Path, n_frames: int) -> None:
    """A bright square under the README's click, moving right over noise."""
    noise = np.random.default_rng(0).integers(0, 90, (180, 320, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for number in range(n_frames):
            picture = noise.copy()
            picture[60:120, 130 + 3 * number : 190 + 3 * number] = (230, 200, 40)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
