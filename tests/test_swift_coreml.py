"""The Swift files that speak to Core ML, against modules that stand in for Apple's frameworks.

The stand-in has the names and types that Apple documents, pads rows, and has graphs computed by ONNX Runtime here.  So
this shows that types, strides, pixels and functions are handled as meant, and nothing about Apple's own code.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from swift_wire import TESTS, swift

pytest.importorskip("onnxruntime")

from etam_onnx.graphs.contract import Graph, contract
from etam_onnx.runtime.networks import Networks

pytestmark = [
    pytest.mark.skipif(shutil.which("swift") is None, reason="needs a Swift toolchain (`swift`) on the PATH"),
    pytest.mark.skipif(sys.platform != "linux", reason="the modules that stand in for Core ML are for Linux"),
]
STAND_IN = TESTS / "swift_coreml"
VARIANT = "coreml-ios18"
MEMORY_ATTENTION = "memory_attention"
ERRORS = {"float32": 1e-5, "float16": 5e-3}  # measured 1.6e-6 and 6.2e-4
CLIP_ERRORS = {"float32": 1e-5, "float16": 4e-3}  # measured 1.1e-6 and 4.6e-4


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources and the stand-in, built outside the checkout."""
    scratch = tmp_path_factory.mktemp("swift-coreml")
    done = subprocess.run(swift("build", STAND_IN, scratch), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning:" not in done.stdout + done.stderr, done.stdout + done.stderr
    return scratch


def with_packages(bundle: Path, folder: Path) -> Path:
    """A copy of a bundle that states Core ML packages, memory attention as functions of one; there are no files."""
    shutil.copytree(bundle, folder)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    files, programs = {}, {}
    for name in manifest["graphs"]:
        shared = name.startswith(MEMORY_ATTENTION)
        files[name] = f"coreml/ios18/{MEMORY_ATTENTION if shared else name}.mlpackage"
        programs[name] = {"function": name if shared else "main", "frame": "", "operators": {}}
    manifest["variants"][VARIANT], manifest["programs"] = files, {VARIANT: programs}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


class StandIn:
    """Answers what models ask: their ports, of one element type, the frame as an image or not; and their outputs."""

    def __init__(self, networks: Networks, asks: Path, hears: Path, edges: str, frame: str) -> None:
        self.graphs = contract(networks.manifest.geometry)
        self.runners = networks.runners
        self.paths = asks, hears
        self.edges, self.frame = edges, frame
        for path in self.paths:
            os.mkfifo(path)

    def serve(self) -> None:
        """Answer until the other side closes."""
        with self.paths[0].open("rb") as asked, self.paths[1].open("wb") as answered:
            while line := asked.readline():
                message = json.loads(line)
                model = message["model"]
                graph = self.graphs[model["package"] if model["function"] == "main" else model["function"]]
                if message["word"] == "describe":
                    answered.write(json.dumps(self._described(graph)).encode() + b"\n")
                else:
                    shapes = {port.name: port.shape for port in graph.inputs}
                    inputs = {
                        name: np.frombuffer(asked.read(4 * int(np.prod(shapes[name]))), np.float32)
                        for name in message["inputs"]
                    }
                    found = self.runners[graph.name](**{k: v.reshape(shapes[k]) for k, v in inputs.items()})
                    answered.write(json.dumps([{"name": name} for name in found]).encode() + b"\n")
                    answered.write(b"".join(np.asarray(value, np.float32).tobytes() for value in found.values()))
                answered.flush()

    def _described(self, graph: Graph) -> list[dict[str, Any]]:
        sides = ((False, graph.inputs), (True, graph.outputs))
        return [
            {
                "name": port.name,
                "shape": list(port.shape),
                "given": given,
                "type": self.frame if port.name == "image" else self.edges,
            }
            for given, ports in sides
            for port in ports
        ]


@pytest.mark.parametrize(("edges", "frame"), [("float16", "image"), ("float32", "float32")])
def test_the_report_of_a_device_finds_graphs_and_clip_right(
    build: Path, small_bundle: Path, tmp_path: Path, edges: str, frame: str
) -> None:
    bundle = with_packages(small_bundle, tmp_path / "bundle")
    networks = Networks.open(small_bundle, variant="portable")
    stand_in = StandIn(networks, tmp_path / "asks", tmp_path / "hears", edges, frame)
    threading.Thread(target=stand_in.serve, daemon=True).start()
    done = subprocess.run(
        swift("run", STAND_IN, build, "--skip-build", "etam-check", str(bundle), VARIANT, "ne"),
        env={**os.environ, "STAND_IN_ASKS": str(stand_in.paths[0]), "STAND_IN_HEARS": str(stand_in.paths[1])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    errors = {
        (graph, port): float(error)
        for error, graph, port in re.findall(r"^\d.*error (\S+)  (\w+) (\w+)$", done.stdout, re.MULTILINE)
    }
    assert set(errors) == {(graph.name, port.name) for graph in stand_in.graphs.values() for port in graph.outputs}
    assert max(errors.values()) < ERRORS[edges]
    assert min(errors.values()) > 0
    assert f"{VARIANT}, units cpu and neural engine" in done.stdout
    (clip,) = re.findall(r"^clip: 30 answers, pixels agreeing (\S+), largest error (\S+)$", done.stdout, re.MULTILINE)
    assert float(clip[0]) > 0.995  # measured 1; a pixel is 0.0017
    assert float(clip[1]) < CLIP_ERRORS[edges]


def test_a_variant_that_is_not_there_is_named(build: Path, small_bundle: Path) -> None:
    command = swift("run", STAND_IN, build, "--skip-build", "etam-check", str(small_bundle), VARIANT)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr == 'error: the bundle has the variants ["ort", "portable"], not coreml-ios18\n'
