"""A bundle whose test vectors hold a wrong number."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from etam_onnx.graphs.bundle import file_identity


def with_wrong_output(bundle: Path, copy: Path, graph: str, port: str) -> Path:
    """A copy of a bundle, in which the first recorded output of a graph begins with 1000; its hashes are right."""
    shutil.copytree(bundle, copy)
    index = json.loads((copy / "vectors/index.json").read_text())
    call = next(call for call in index["calls"] if call["graph"] == graph)
    place = index["tensors"][call["outputs"][port]]
    data = bytearray((copy / "vectors/tensors.bin").read_bytes())
    data[place["offset"] : place["offset"] + 4] = np.float32(1e3).tobytes()
    (copy / "vectors/tensors.bin").write_bytes(data)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"]["vectors/tensors.bin"]["sha256"] = file_identity(copy / "vectors/tensors.bin").sha256
    (copy / "manifest.json").write_text(json.dumps(manifest))
    return copy
