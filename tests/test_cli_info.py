"""`etam-onnx info`: what is shown of a bundle's manifest."""

from __future__ import annotations

from pathlib import Path

import pytest

from etam_onnx.cli.info import megabytes
from etam_onnx.cli.main import main
from etam_onnx.graphs.contract import Geometry, contract
from etam_onnx.graphs.manifest import Constants, File, Manifest

GEOMETRY = Geometry(
    image_size=128,
    stride=16,
    width=64,
    memory_width=32,
    recent_memories=3,
    recent_pointers=4,
    prompted_frames=2,
    prompt_slots=6,
)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    files = {name: f"portable/{name}.onnx" for name in contract(GEOMETRY)}
    manifest = Manifest(
        model="thumbnail",
        geometry=GEOMETRY,
        constants=Constants((0.0,) * GEOMETRY.width, (0.0,) * 16, 0.0),
        variants={"portable": files},
        files={path: File("0" * 64, 1_500_000) for path in files.values()},
        parity={
            "portable": [
                {"graph": "image_encoder", "error": 1.25e-6},
                {"graph": "mask_decoder", "error": 3e-7},
            ]
        },
        source={"config": {"image_size": 128}, "checkpoint": "abc123"},
        card={"licence": "Apache-2.0", "data": ["coco", "nuclei"]},
    )
    (tmp_path / "manifest.json").write_text(manifest.to_json())
    return tmp_path


def test_the_facts_of_a_bundle(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(bundle)]) == 0
    lines = capsys.readouterr().out.splitlines()
    graphs = len(contract(GEOMETRY))
    assert lines[0] == f"thumbnail in {bundle}"
    assert f"  size      {1.5 * graphs:.1f} MB in {graphs} files" in lines
    assert "  input     RGB, 128x128 pixels, 0..255" in lines
    assert "  memory    2 prompted and 3 recent frames of 32 channels, 6 object pointers" in lines
    assert "  prompts   up to 5 points on a frame, a box counting as two" in lines
    assert "  image_encoder: portable/image_encoder.onnx  (1.5 MB)" in lines
    assert "  licence  Apache-2.0" in lines
    assert "  data     coco, nuclei" in lines
    assert lines[-3:] == [
        "    graph          error",
        "    image_encoder  1.25e-06",
        "    mask_decoder   3e-07",
    ]


def test_the_ports_of_every_graph(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(bundle), "--graphs"]) == 0
    printed = capsys.readouterr().out
    for graph in contract(GEOMETRY).values():
        assert f"graph {graph.name}: {graph.doc}" in printed
        for port in (*graph.inputs, *graph.outputs):
            assert f"{port.name} {port.dtype} {list(port.shape)}" in printed


def test_what_is_no_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path} is not a bundle: it has no manifest.json\n"
    assert main(["info", "no-such-bundle"]) == 1
    assert capsys.readouterr().err.startswith("error: there is no bundle 'no-such-bundle'")


def test_sizes() -> None:
    assert [megabytes(size) for size in (0, 999, 23_400, 4_210_000)] == [
        "0 bytes",
        "999 bytes",
        "23 kB",
        "4.2 MB",
    ]
