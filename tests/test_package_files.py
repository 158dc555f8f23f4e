"""Core ML packages in a bundle: all they hold is listed, and all they refer to is inside.  No Core ML needed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_bundle import GRAPHS, edit_manifest, record_again, write_bundle

from etam_onnx.graphs.bundle import Bundle
from etam_onnx.graphs.errors import BundleError
from etam_onnx.graphs.manifest import Program
from etam_onnx.graphs.package_files import contained_files, referenced_files

VARIANT = "coreml-ios18"
PACKAGES = {"memory_attention": [name for name in GRAPHS if name.startswith("memory_attention")]} | {
    name: [name] for name in GRAPHS if not name.startswith("memory_attention")
}
MODEL = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"
ENCODER = "coreml/ios18/image_encoder.mlpackage"


def field(number: int, content: bytes) -> bytes:
    """One length-delimited field of a protobuf message."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def model(weights: str, deep: bool = False) -> bytes:
    """A model, in bytes, of one function with one constant in the file of that name, or in a block in a block."""
    value = field(2, field(5, field(1, weights.encode())))
    operation = field(1, b"const") + field(5, field(1, b"val") + value)
    if deep:
        binding = field(1, field(2, field(5, field(1, weights.encode()))))
        operation = field(4, field(3, field(2, field(1, b"x") + field(2, binding))))
    block = field(1, b"CoreML8") + field(2, field(3, operation))
    return field(502, field(2, field(1, b"main") + field(2, field(2, b"CoreML8") + field(3, block))))


def listing(path: str = "com.apple.CoreML/model.mlmodel", **others: str) -> bytes:
    items = {"A": {"path": path}, **{key: {"path": value} for key, value in others.items()}}
    return json.dumps({"itemInfoEntries": items, "rootModelIdentifier": "A"}).encode()


def package_content(weights: str = "@model_path/weights/weight.bin") -> dict[str, bytes]:
    return {"Manifest.json": listing(), MODEL: model(weights), WEIGHTS: b"numbers"}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle with packages of the least possible content."""
    root = write_bundle(tmp_path / "bundle")
    files = {f"coreml/ios18/{p}.mlpackage/{n}": c for p in PACKAGES for n, c in package_content().items()}
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)

    def change(manifest: dict[str, Any]) -> None:
        paths = {name: f"coreml/ios18/{package}.mlpackage" for package, names in PACKAGES.items() for name in names}
        manifest["variants"] = {VARIANT: paths}
        manifest["programs"] = {
            VARIANT: {name: {"function": name, "frame": "", "operators": {"conv": 3}} for name in GRAPHS}
        }

    edit_manifest(root, change)
    for name in files:
        record_again(root, name)
    return root


def rewrite(root: Path, name: str, content: bytes) -> None:
    """Change a file, and let the manifest describe it as it is then."""
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(content)
    record_again(root, name)


def test_paths_are_those_of_the_packages(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    paths = opened.graph_paths(VARIANT)
    assert paths == {
        name: bundle / f"coreml/ios18/{package}.mlpackage" for package, names in PACKAGES.items() for name in names
    }
    assert opened.graphs_of(VARIANT) == GRAPHS
    assert opened.manifest.programs[VARIANT]["mask_decoder"] == Program("mask_decoder", "", {"conv": 3})
    assert contained_files(paths["image_encoder"]) == {"Manifest.json", MODEL, WEIGHTS}
    assert referenced_files(paths["image_encoder"]) == {MODEL, WEIGHTS}


@pytest.mark.parametrize("name", [MODEL, WEIGHTS, "Manifest.json"])
def test_every_file_of_a_package_is_checked(bundle: Path, name: str) -> None:
    (bundle / ENCODER / name).write_bytes(b"x" * (bundle / ENCODER / name).stat().st_size)
    with pytest.raises(BundleError, match=f"{name} is damaged: its SHA-256"):
        Bundle.open(bundle).graph_paths(VARIANT)
    (bundle / ENCODER / name).unlink()
    with pytest.raises(BundleError, match=f"lacks the file {ENCODER}/{name}"):
        Bundle.open(bundle).graph_paths(VARIANT)


def test_a_package_that_is_missing(bundle: Path) -> None:
    shutil.rmtree(bundle / ENCODER)
    with pytest.raises(BundleError, match=f"lacks the package {ENCODER}"):
        Bundle.open(bundle).graph_paths(VARIANT)
    edit_manifest(bundle, lambda m: [m["files"].pop(n) for n in list(m["files"]) if n.startswith(ENCODER)])
    with pytest.raises(BundleError, match=f"does not list the files of {ENCODER}"):
        Bundle.open(bundle).graph_paths(VARIANT)


@pytest.mark.parametrize("name", ["Data/more.bin", "Data/com.apple.CoreML/weights/other.bin"])
def test_a_file_that_is_not_listed(bundle: Path, name: str) -> None:
    (bundle / ENCODER / name).write_bytes(b"")
    with pytest.raises(BundleError, match=f"does not list the file {ENCODER}/{name}"):
        Bundle.open(bundle).graph_paths(VARIANT)


def test_a_link_to_a_folder_is_no_part_of_a_package(bundle: Path) -> None:
    (bundle / ENCODER / "Data/link").symlink_to(bundle.parent)
    with pytest.raises(BundleError, match=f"does not list the file {ENCODER}/Data/link"):
        Bundle.open(bundle).graph_paths(VARIANT)
    outside = bundle.parent / "outside"
    (bundle / ENCODER / "Data/link").unlink()
    (bundle / ENCODER / "Data").rename(outside)
    (bundle / ENCODER / "Data").symlink_to(outside)
    with pytest.raises(BundleError, match="is a link that leaves the bundle"):
        Bundle.open(bundle).graph_paths(VARIANT)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        (
            "@model_path/../../../../../outside",
            "reads weights from '@model_path/../../../../../outside', which is outside",
        ),
        ("/etc/passwd", "it reads weights from '/etc/passwd', which is outside of it"),
        ("@model_path//etc/passwd", "it reads weights from '@model_path//etc/passwd', which is outside of it"),
        ("", "it reads weights from '', which is outside of it"),
        ("@model_path/weights/other.bin", "refers to .*/weights/other.bin, which .*manifest.json does not list"),
    ],
)
def test_weights_lie_inside(bundle: Path, weights: str, sentence: str, deep: bool) -> None:
    rewrite(bundle, f"{ENCODER}/{MODEL}", model(weights, deep))
    with pytest.raises(BundleError, match=rf"image_encoder.mlpackage .*{sentence}"):
        Bundle.open(bundle).graph_paths(VARIANT)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"{", "its Manifest.json is missing or names no model"),
        (b"[]", "its Manifest.json is missing or names no model"),
        (b'{"itemInfoEntries": {}, "rootModelIdentifier": "A"}', "its Manifest.json is missing or names no model"),
        (listing("../../../outside"), "it names '../../../outside', which is outside of it"),
        (listing(B="/etc"), "it names '/etc', which is outside of it"),
        (listing("com.apple.CoreML/another.mlmodel"), "its model com.apple.CoreML/another.mlmodel is missing or dam"),
    ],
)
def test_what_a_package_names_lies_inside(bundle: Path, content: bytes, sentence: str) -> None:
    rewrite(bundle, f"{ENCODER}/Manifest.json", content)
    with pytest.raises(BundleError, match=f"image_encoder.mlpackage is not a Core ML package: {sentence}") as caught:
        Bundle.open(bundle).graph_paths(VARIANT)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff" * 40, field(502, b"abc")[:-1] + b"\x07"])
def test_a_model_that_is_damaged(bundle: Path, content: bytes) -> None:
    rewrite(bundle, f"{ENCODER}/{MODEL}", content)
    with pytest.raises(BundleError, match=r"its model com.apple.CoreML/model.mlmodel is missing or damaged"):
        Bundle.open(bundle).graph_paths(VARIANT)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda m: m.pop("programs"), "the variant 'coreml-ios18' does not have a program for each graph"),
        (lambda m: m["programs"][VARIANT].pop("mask_decoder"), "does not have a program for each graph"),
        (lambda m: m["programs"][VARIANT]["mask_decoder"].pop("frame"), "'programs' is malformed: 'frame'"),
        (lambda m: m["programs"][VARIANT]["mask_decoder"].update(operators=[1]), "'programs' is malformed"),
        (lambda m: m.update(programs=[1]), "'programs' is malformed"),
        (lambda m: m["variants"][VARIANT].pop("mask_decoder"), "does not have exactly the contract's graphs"),
    ],
)
def test_a_manifest_that_cannot_be_used(bundle: Path, change: Callable[[dict[str, Any]], Any], sentence: str) -> None:
    edit_manifest(bundle, change)
    with pytest.raises(BundleError, match=f"manifest.json: .*{sentence}"):
        Bundle.open(bundle)


@pytest.mark.parametrize("name", ["../outside.mlpackage", "/tmp/x.mlpackage", "coreml/../../x.mlpackage"])
def test_packages_lie_inside_the_bundle(bundle: Path, name: str) -> None:
    edit_manifest(bundle, lambda m: m["variants"][VARIANT].update(mask_decoder=name))
    with pytest.raises(BundleError, match="leaves the bundle"):
        Bundle.open(bundle).graph_paths(VARIANT)
