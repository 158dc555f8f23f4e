"""Prints the largest error of each kind of value per golden file: ``python tests/golden_table.py [torch|onnx]``.

Reads ``../shared/reference``; for ONNX it exports the configurations to a temporary folder first.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from golden_replay import IMAGE_FILE, VIDEO_FILES, read_golden, reference_model, replay_image, replay_video

from etam_onnx.conversion.bundle_writer import export_bundle
from etam_onnx.runtime.networks import Networks
from etam_onnx.torch_backend import torch_networks

REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "reference"


def rows(networks: Callable[[str], Networks]) -> None:
    """One line per golden file."""
    for name in (*VIDEO_FILES, IMAGE_FILE):
        config = read_golden(REFERENCE, name)[1]["config"]
        if name == IMAGE_FILE:
            errors = replay_image(REFERENCE, networks(config))
        else:
            errors = replay_video(REFERENCE, name, networks(config))
        worst = "  ".join(f"{kind} {error:.1e}" for kind, error in sorted(errors.worst.items()))
        print(f"{name}: {worst}  mask pixels equal {100 * errors.agreement:.3f} %", flush=True)


def main() -> None:
    """Both ways, or the one named."""
    wanted = sys.argv[1:] or ["torch", "onnx"]
    if "torch" in wanted:
        print("PyTorch")
        rows(cache(lambda config: torch_networks(reference_model(REFERENCE, config))))
    if "onnx" in wanted:
        print("ONNX Runtime, CPU")
        with tempfile.TemporaryDirectory() as folder:

            @cache
            def exported(config: str) -> Networks:
                export_bundle(reference_model(REFERENCE, config), Path(folder) / config, vectors=False)
                return Networks.open(Path(folder) / config)

            rows(exported)


if __name__ == "__main__":
    main()
