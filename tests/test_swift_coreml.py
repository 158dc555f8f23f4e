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
from swift_wire import PACKAGE, TESTS, swift

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


PAGE_TARGET = """
package.targets.append(
    .target(
        name: "Page", dependencies: ["Etam", "CoreML", "AVFoundation", "CoreGraphics"],
        swiftSettings: [.unsafeFlags(["-swift-version", "6"])]))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources, the stand-ins, and the code on the page, built outside the checkout."""
    package = tmp_path_factory.mktemp("swift-coreml") / "package"
    shutil.copytree(STAND_IN, package, ignore=shutil.ignore_patterns(".build"))
    with (package / "Package.swift").open("a", encoding="utf-8") as description:
        description.write(PAGE_TARGET)
    (package / "Sources" / "Page").mkdir()
    (package / "Sources" / "Page" / "Page.swift").write_text(code_on_the_page(), encoding="utf-8")
    done = subprocess.run(swift("build", package, package / ".build"), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning:" not in done.stdout + done.stderr, done.stdout + done.stderr
    return package


def code_on_the_page() -> str:
    """The Swift code of `docs/ios.md` as one file: imports, declarations, and the rest in a function of an app."""
    page = (PACKAGE.parent / "ios.md").read_text(encoding="utf-8")
    imports: set[str] = set()
    declarations: list[str] = []
    statements: list[str] = []
    for block in re.findall(r"^```swift\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        imports |= set(re.findall(r"^import \w+$", block, re.MULTILINE))
        code = re.sub(r"^import \w+\n", "", block, flags=re.MULTILINE)
        declares = re.search(r"^(final class|class|struct|func|extension|actor) ", code, re.MULTILINE)
        (declarations if declares else statements).append(code)
    assert statements
    given = "pixelBuffer: CVPixelBuffer, frames: [CVPixelBuffer], session: AVCaptureSession"
    function = [f"@MainActor func app({given}) async throws {{", *statements, "}"]
    return "\n".join([*sorted(imports | {"import AVFoundation"}), *declarations, *function])


def check(package: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run etam-check."""
    return subprocess.run(
        swift("run", package, package / ".build", "--skip-build", "etam-check", *arguments),
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def with_packages(bundle: Path, folder: Path) -> Path:
    """A copy of a bundle that states Core ML packages, memory attention as functions of one; all are empty."""
    shutil.copytree(bundle, folder)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    files: dict[str, str] = {}
    programs: dict[str, Any] = {}
    for name in manifest["graphs"]:
        shared = name.startswith(MEMORY_ATTENTION)
        files[name] = f"coreml/ios18/{MEMORY_ATTENTION if shared else name}.mlpackage"
        programs[name] = {"function": name if shared else "main", "frame": "", "operators": {}}
        (folder / files[name]).mkdir(parents=True, exist_ok=True)
        manifest["files"][f"{files[name]}/Manifest.json"] = {"sha256": f"{len(files[name]):064x}", "size": 0}
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
    package: Path, small_bundle: Path, tmp_path: Path, edges: str, frame: str
) -> None:
    bundle = with_packages(small_bundle, tmp_path / "bundle")
    networks = Networks.open(small_bundle, variant="portable")
    stand_in = StandIn(networks, tmp_path / "asks", tmp_path / "hears", edges, frame)
    threading.Thread(target=stand_in.serve, daemon=True).start()
    asks, hears = map(str, stand_in.paths)
    caches = package.parent / "caches"  # the second run finds what the first compiled; compiling again would fail
    done = check(
        package, str(bundle), VARIANT, "ne", STAND_IN_ASKS=asks, STAND_IN_HEARS=hears, XDG_CACHE_HOME=str(caches)
    )
    assert done.returncode == 0, done.stderr
    kept = {re.sub(r"-[0-9a-f]{64}\.mlmodelc$", "", path.name) for path in (caches / "Etam").iterdir()}
    assert kept == {MEMORY_ATTENTION, "image_encoder", "mask_decoder", "memory_encoder"}
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


def test_what_is_not_there_is_named(package: Path, small_bundle: Path, tmp_path: Path) -> None:
    done = check(package, str(small_bundle), VARIANT)
    assert done.returncode == 1
    assert done.stderr == 'error: the bundle has the variants ["ort", "portable"], not coreml-ios18\n'
    done = check(package, str(small_bundle), "portable")
    assert done.stderr == "error: portable holds no Core ML packages\n"
    bundle = with_packages(small_bundle, tmp_path / "bundle")
    (bundle / "coreml" / "ios18" / "image_encoder.mlpackage").rmdir()
    done = check(package, str(bundle), VARIANT)
    sentence = "error: image_encoder.mlmodelc is not among the app's resources, and there is no "
    assert done.stderr.startswith(sentence) and done.stderr.endswith("/coreml/ios18/image_encoder.mlpackage\n")
    done = check(package, str(tmp_path / "nowhere"))
    assert re.fullmatch(r"error: \S+/manifest\.json cannot be read: .+\n", done.stderr)
    shutil.rmtree(bundle / "vectors")
    done = check(package, str(bundle))
    assert re.fullmatch(r"error: the test vectors \S+/vectors cannot be read: .+\n", done.stderr)
