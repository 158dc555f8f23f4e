"""What the Swift sources say, without a compiler: the names and numbers of the contract, and no others."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_networks import tiny_geometry

from etam_onnx.graphs import vectors as format_of_vectors
from etam_onnx.graphs.contract import LABELS, Graph, contract, memory_attention_name, memory_port
from etam_onnx.graphs.manifest import FORMAT, Constants, Manifest, Rules
from etam_onnx.runtime.prompts import BOX_LABELS, PADDING_LABEL

PACKAGE = Path(__file__).resolve().parent.parent / "docs" / "swift"
SOURCES = {path.name: path.read_text(encoding="utf-8") for path in (PACKAGE / "Sources" / "Etam").glob("*.swift")}
LOOP = ("Memory", "Prompts", "Segmenter", "ObjectTrack", "Tracker", "VideoTracker")
GEOMETRY = tiny_geometry()
GRAPHS = contract(GEOMETRY)


def code(name: str) -> str:
    """A source without its comments."""
    return re.sub(r"//.*", "", SOURCES[f"{name}.swift"])


def strings(name: str) -> set[str]:
    """What stands between quotation marks."""
    return set(re.findall(r'"((?:[^"\\]|\\.)*)"', code(name)))


def stated(struct: str, source: str = "Manifest") -> set[str]:
    """The JSON keys that a Decodable structure reads."""
    body = SOURCES[f"{source}.swift"].split(f"struct {struct}: Decodable, Sendable {{")[1]
    body = body[: body.index("\n    }\n")]
    if "CodingKeys" in body:
        cases = re.findall(r"case (.+)", body.split("CodingKey {")[1])
        found = set()
        for case in cases:
            renamed = re.fullmatch(r'\w+ = "(\w+)"', case)
            found |= {renamed[1]} if renamed else {name.strip() for name in case.split(",")}
        return found
    names = re.findall(r"public let ([\w`, ]+):", body)
    return {name.strip(" `") for group in names for name in group.split(",")}


def manifest() -> dict[str, Any]:
    constants = Constants((0.0,) * GEOMETRY.width, (0.0,) * 16, 0.0)
    read: dict[str, Any] = json.loads(Manifest("fake", GEOMETRY, constants, {}).to_json())
    return read


def test_the_manifest_is_read_key_by_key() -> None:
    written = manifest()
    for struct in ("Geometry", "Rules", "Constants"):
        assert stated(struct) == set(written[struct.lower()])
    assert stated("Port") <= set(written["graphs"]["image_encoder"]["inputs"][0])
    assert stated("Contract") <= set(written["graphs"]["image_encoder"])
    top = re.findall(r"^    public let (\w+):", SOURCES["Manifest.swift"], re.MULTILINE)
    assert set(top) <= set(written) | {"programs"}
    assert f"public static let format = {FORMAT}\n" in SOURCES["Manifest.swift"]


def test_ports_and_graphs_have_the_names_of_the_contract() -> None:
    written = strings("Segmenter") | strings("Prompts")

    def named(graph: Graph) -> set[str]:
        return {port.name for port in (*graph.inputs, *graph.outputs)}

    slots = {memory_port(slot) for slot in range(max(GEOMETRY.memory_counts))}
    ports = set().union(*map(named, GRAPHS.values())) - slots
    assert ports <= written
    assert set(GRAPHS) - {memory_attention_name(n) for n in GEOMETRY.memory_counts} <= written
    assert {"memory_\\(number)", "memory_attention_\\(slots)", "0\\(slot)"} <= written
    assert memory_port(7) == "memory_07" and memory_port(12) == "memory_12" and memory_attention_name(7)[-2:] == "_7"
    words = {text for text in written if re.fullmatch(r"[a-z_]+", text)}
    assert words == ports | {"image_encoder", "mask_decoder", "memory_encoder"}


def test_labels_have_the_columns_of_the_contract() -> None:
    assert f"public static let labels = {list(LABELS)}\n" in SOURCES["Prompts.swift"]
    first, second = BOX_LABELS
    expected = f"static let padding = {PADDING_LABEL}, firstCorner = {first}, secondCorner = {second}\n"
    assert expected in SOURCES["Prompts.swift"]


def test_thresholds_and_capacities_come_from_the_manifest() -> None:
    """In the loop no number is written down but counts, columns and the threshold of a resized mask."""
    numbers = {number for name in LOOP for number in re.findall(r"(?<![\w.$])\d+(?:\.\d+)?", code(name))}
    assert {number for number in numbers if "." in number} == {"0.5"}
    assert numbers - {"0.5"} <= {"0", "1", "2", "3", "4", "10"}
    for field in Rules.__dataclass_fields__:
        name = re.sub(r"_(\w)", lambda match: match[1].upper(), field)
        users = [source for source in SOURCES if source != "Manifest.swift" and f".{name}" in SOURCES[source]]
        assert users, f"{field} is not applied"


def test_the_vectors_are_read_as_they_are_written() -> None:
    keys = set(re.findall(r"^        public let (\w+): \[", SOURCES["Vectors.swift"], re.MULTILINE))
    assert keys == {"tensors", "frames", "script", "calls", "results"}
    for name, size in format_of_vectors.ITEM_SIZE.items():
        assert f'"{name}", {size})' in SOURCES["Vectors.swift"]
        assert np.dtype(name).itemsize == size
    assert format_of_vectors.FOLDER in strings("Vectors")
    assert {Path(format_of_vectors.INDEX).name, Path(format_of_vectors.TENSORS).name} <= strings("Vectors")


def test_the_loop_does_not_know_core_ml() -> None:
    importing = {name for name, source in SOURCES.items() if re.search(r"import Core(ML|Video)", source)}
    assert importing == {"CoreMLGraphs.swift", "MultiArray.swift", "PixelBuffer.swift", "DeviceReport.swift"}
    for name in importing:
        assert re.match(r"#if canImport\(Core(ML|Video)\)\n", SOURCES[name])
    for name in LOOP:
        assert "import" not in code(name)


def test_files_are_small_and_all_of_them_are_named_on_the_page() -> None:
    page = (PACKAGE.parent / "ios.md").read_text(encoding="utf-8")
    for name, source in SOURCES.items():
        lines = source.splitlines()
        assert len(lines) <= 150, name
        assert max(map(len, lines)) <= 120, name
        assert f"`{name}`" in page
    assert sum(len(SOURCES[f"{name}.swift"].splitlines()) for name in LOOP) < 700


@pytest.mark.parametrize(
    ("side", "memory", "mask", "whole"), [(384, 72, 36, 1.8), (512, 128, 64, 3.2), (1024, 512, 256, 12.8)]
)
def test_the_memory_on_the_page_is_that_of_the_contract(side: int, memory: int, mask: int, whole: float) -> None:
    page = (PACKAGE.parent / "ios.md").read_text(encoding="utf-8")
    sizes = contract(tiny_geometry(image_size=side, width=256, memory_width=64))
    (port,) = sizes["memory_encoder"].outputs
    assert np.prod(port.shape) * 2 == memory * 1024
    logits = next(port for port in sizes["memory_encoder"].inputs if port.name == "mask_logits")
    assert np.prod(logits.shape) * 4 == mask * 1024
    held = GEOMETRY.prompted_frames + GEOMETRY.recent_memories, GEOMETRY.pointer_slots
    assert (held[0] * memory + held[1] * mask) / 1024 == pytest.approx(whole, abs=0.06)
    assert re.search(rf"\| {side}.* \| {memory} KiB \| {mask} KiB \| {whole} MiB \|", page)
