"""Opening a bundle proves its manifest and its files; these tests need neither onnx nor a runtime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_bundle import (
    DEPLOYMENT,
    GEOMETRY,
    GRAPHS,
    ORT_GRAPHS,
    add_ort,
    edit_manifest,
    empty_files,
    record_again,
    write_bundle,
)

from etam_onnx.graphs.bundle import Bundle, file_identity, inside, shipped_names
from etam_onnx.graphs.errors import BundleError
from etam_onnx.graphs.manifest import MANIFEST, Rules

ENCODER = "portable/image_encoder.onnx"


def reference(location: str) -> bytes:
    """An ONNX file, in bytes, with a tensor whose data lies at `location`."""

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    entry = field(1, b"location") + field(2, location.encode())
    return field(7, field(5, field(13, entry)))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle's folder with an empty file per graph."""
    return write_bundle(tmp_path / "bundle")


def test_a_bundle_opens_by_its_folder(bundle: Path) -> None:
    for name in (bundle, str(bundle), Bundle.open(bundle)):
        opened = Bundle.open(name)
        assert (opened.root, opened.manifest.geometry, opened.manifest.model) == (bundle, GEOMETRY, "tiny")
    assert opened.graphs_of("portable") == GRAPHS
    assert opened.graph_paths("portable") == {name: bundle / f"portable/{name}.onnx" for name in GRAPHS}


def test_the_manifest_says_what_was_written(bundle: Path) -> None:
    opened = Bundle.open(bundle).manifest
    assert opened.to_json() == (bundle / MANIFEST).read_text(encoding="utf-8")
    assert opened.rules == Rules()
    assert opened.files[ENCODER] == file_identity(bundle / ENCODER)


def test_a_bundle_with_the_ort_variant(bundle: Path) -> None:
    assert Bundle.open(bundle).manifest.deployment is None
    add_ort(bundle)
    opened = Bundle.open(bundle)
    assert opened.manifest.deployment == DEPLOYMENT
    assert (opened.graphs_of("portable"), opened.graphs_of("ort")) == (GRAPHS, ORT_GRAPHS)
    assert set(opened.graph_paths("ort")) == set(ORT_GRAPHS)
    assert json.loads(opened.manifest.to_json()) == json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    (bundle / "ort/memory_keys.onnx").unlink()
    assert set(opened.graph_paths("portable")) == set(GRAPHS)
    with pytest.raises(BundleError, match=r"lacks the file ort/memory_keys\.onnx"):
        opened.graph_paths("ort")


def test_a_manifest_from_before_there_were_deployments(bundle: Path) -> None:
    edit_manifest(bundle, lambda m: m.pop("deployment"))
    assert Bundle.open(bundle).manifest.deployment is None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda m: m.pop("deployment"), "the variant 'ort' needs a 'deployment', found nothing"),
        (lambda m: m.update(deployment=[1]), r"deployment: expected the fields \['layers', 'mem.*'pool'\], found list"),
        (lambda m: m["deployment"].pop("pool"), r"expected the fields .*, found \['layers', 'memory_counts'\]"),
        (lambda m: m["deployment"].update(speed=2), "deployment: expected the fields .*, found .*'speed'"),
        (lambda m: m["deployment"].update(layers=0), "deployment: layers must be a positive integer, found 0"),
        (lambda m: m["deployment"].update(pool=True), "deployment: pool must be a positive integer, found True"),
        (lambda m: m["deployment"].update(pool=3), "a window of 3 does not divide the grid of 4"),
        (
            lambda m: m["deployment"].update(memory_counts=[2, 8]),
            r"must be integers that ascend from 1 to 8, found \[2",
        ),
        (lambda m: m["deployment"].update(memory_counts=[1, 7]), r"must be integers that ascend from 1 to 8, found"),
        (lambda m: m["deployment"].update(memory_counts=[1, 7, 2, 8]), r"ascend from 1 to 8, found \[1, 7, 2, 8\]"),
        (lambda m: m["deployment"].update(memory_counts=[1, 2, 2, 8]), r"ascend from 1 to 8"),
        (lambda m: m["deployment"].update(memory_counts=[]), r"ascend from 1 to 8, found \[\]"),
        (lambda m: m["deployment"].update(memory_counts=[1, "8"]), r"ascend from 1 to 8, found \[1, '8'\]"),
        (lambda m: m["deployment"].update(memory_counts=8), r"ascend from 1 to 8, found 8"),
        (lambda m: m["variants"]["ort"].pop("memory_keys"), "'ort' does not have exactly the contract's graphs"),
        (lambda m: m["deployment"].update(memory_counts=[1, 8]), "'ort' does not have exactly the contract's graphs"),
        (lambda m: m["variants"].update(portable=m["variants"]["ort"]), "'portable' does not have exactly"),
    ],
)
def test_a_deployment_that_cannot_be_used(bundle: Path, change: Any, sentence: str) -> None:
    add_ort(bundle)
    edit_manifest(bundle, change)
    with pytest.raises(BundleError, match=f"manifest.json: .*{sentence}") as caught:
        Bundle.open(bundle)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_nothing() -> None:
    with pytest.raises(
        BundleError, match=r"there is no bundle 'nowhere': it is neither a folder nor one of the shipped"
    ):
        Bundle.open("nowhere")
    assert isinstance(shipped_names(), list)


def test_a_file_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BundleError, match=r"file is not a bundle: a bundle is a folder with a manifest.json"):
        Bundle.open(tmp_path / "file")
    with pytest.raises(BundleError, match=r"is not a bundle: it has no manifest.json"):
        Bundle.open(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"1" * 5000])
def test_a_manifest_that_is_not_json(bundle: Path, content: bytes) -> None:
    (bundle / MANIFEST).write_bytes(content)
    with pytest.raises(BundleError, match=r"manifest.json (cannot be read as JSON|should hold a JSON object)"):
        Bundle.open(bundle)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda m: m.update(format=2), "this package reads bundle format 1, found 2"),
        (lambda m: m.pop("format"), "this package reads bundle format 1, found None"),
        (lambda m: m.pop("geometry"), "'geometry' should be of type dict, found nothing"),
        (lambda m: m.update(geometry=[1]), "'geometry' should be of type dict, found list"),
        (lambda m: m["geometry"].update(width=0), "geometry: width must be a positive integer, found 0"),
        (lambda m: m["geometry"].pop("width"), "geometry: expected the fields"),
        (lambda m: m.update(model=None), "'model' should be of type str, found nothing"),
        (lambda m: m["constants"].pop("mask_downsample"), "malformed: it lacks 'mask_downsample'"),
        (lambda m: m["constants"].update(no_object_pointer=[1]), "no_object_pointer should have 8 numbers, found 1"),
        (lambda m: m["constants"].update(mask_downsample=[1]), "mask_downsample should have 16 numbers, found 1"),
        (lambda m: m["constants"].update(mask_downsample_bias="x"), "malformed: could not convert"),
        (lambda m: m["files"][ENCODER].pop("size"), "malformed: it lacks 'size'"),
        (lambda m: m["files"].update({ENCODER: None}), "malformed"),
        (lambda m: m["rules"].update(volume=11), "malformed: .*volume"),
        (lambda m: m["rules"].update(hole_logit=None), "malformed"),
        (
            lambda m: m.update(variants={"portable": "all"}),
            "the variant 'portable' should map graphs to names of files",
        ),
        (lambda m: m["variants"]["portable"].update(image_encoder=3), "the variant 'portable' should map graphs"),
        (lambda m: m["variants"]["portable"].pop("image_encoder"), "does not have exactly the contract's graphs"),
        (lambda m: m["variants"]["portable"].update(another="x.onnx"), "does not have exactly the contract's graphs"),
        (lambda m: m["graphs"].pop("mask_decoder"), "expected the graphs .*'mask_decoder'.*, found"),
        (lambda m: m["graphs"]["mask_decoder"].pop("inputs"), "graph mask_decoder has a malformed list of inputs"),
        (lambda m: m["graphs"]["mask_decoder"].update(outputs=3), "graph mask_decoder has a malformed list of outputs"),
        (
            lambda m: m["graphs"]["mask_decoder"]["outputs"][0].update(shape=[1, 3, 16, 16]),
            r"graph mask_decoder, outputs: expected mask_logits \[1, 4, 16, 16\] float32, "
            r"found mask_logits \[1, 3, 16, 16\] float32",
        ),
        (
            lambda m: m["graphs"]["memory_encoder"]["inputs"][1].update(name="mask"),
            "expected mask_logits .*, found mask ",
        ),
        (lambda m: m["graphs"]["memory_encoder"]["inputs"][1].update(dtype="float16"), "float32, found .* float16"),
        (lambda m: m["graphs"]["memory_encoder"]["inputs"].pop(), "memory_encoder should have 3 inputs, found 2"),
    ],
)
def test_a_manifest_that_cannot_be_used(bundle: Path, change: Any, sentence: str) -> None:
    edit_manifest(bundle, change)
    with pytest.raises(BundleError, match=rf"manifest.json.* {sentence}|manifest.json: .*{sentence}") as caught:
        Bundle.open(bundle)
    assert "\n" not in str(caught.value)


def test_a_geometry_that_the_graphs_do_not_have(bundle: Path) -> None:
    edit_manifest(bundle, lambda m: m["geometry"].update(prompted_frames=3))
    with pytest.raises(BundleError, match=r"does not have|expected the graphs"):
        Bundle.open(bundle)


def test_an_unknown_variant(bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"has no variant 'coreml', it has \['portable'\]"):
        Bundle.open(bundle).graph_paths("coreml")


def test_a_missing_file(bundle: Path) -> None:
    (bundle / ENCODER).unlink()
    with pytest.raises(BundleError, match=f"lacks the file {ENCODER}"):
        Bundle.open(bundle).graph_paths("portable")
    (bundle / ENCODER).mkdir()
    with pytest.raises(BundleError, match=f"lacks the file {ENCODER}"):
        Bundle.open(bundle).graph_paths("portable")


def test_an_unlisted_file(bundle: Path) -> None:
    edit_manifest(bundle, lambda m: m["files"].pop(ENCODER))
    with pytest.raises(BundleError, match=f"manifest.json does not list the file {ENCODER}"):
        Bundle.open(bundle).graph_paths("portable")


def test_a_file_of_another_size_or_content(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path, {**empty_files(), "notes.txt": b"abc"})
    opened = Bundle.open(bundle)
    assert opened.check_file("notes.txt") == bundle / "notes.txt"
    (bundle / "notes.txt").write_bytes(b"abcd")
    with pytest.raises(BundleError, match=r"notes.txt is damaged: expected 3 bytes, found 4"):
        opened.check_file("notes.txt")
    (bundle / "notes.txt").write_bytes(b"abd")
    with pytest.raises(BundleError, match=r"notes.txt is damaged: its SHA-256 is not the one in the manifest"):
        opened.check_file("notes.txt")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("../outside", "leaves the bundle"),
        ("portable/../../outside", "leaves the bundle"),
        ("portable/..", "leaves the bundle"),
        ("/etc/passwd", "leaves the bundle"),
        ("..\\outside", "leaves the bundle"),
        ("C:outside", "leaves the bundle"),
        ("", "leaves the bundle"),
        ("a\0b", "is not a file name"),
        ("a\nb", "is not a file name"),
        ("\ud800", "is not a file name"),
    ],
    ids=repr,
)
def test_names_that_leave_the_bundle(bundle: Path, name: str, sentence: str) -> None:
    (bundle.parent / "outside").write_bytes(b"")
    identity = {"sha256": file_identity(bundle.parent / "outside").sha256, "size": 0}

    def change(manifest: dict[str, Any]) -> None:
        manifest["files"][name] = identity
        manifest["variants"]["portable"]["image_encoder"] = name

    edit_manifest(bundle, change)
    with pytest.raises(BundleError, match=rf"manifest.json: .*{sentence}"):
        Bundle.open(bundle).graph_paths("portable")


@pytest.mark.parametrize("link", ["file", "folder"])
def test_links_that_leave_the_bundle(bundle: Path, link: str) -> None:
    outside = bundle.parent / "outside"
    if link == "folder":
        (bundle / "portable").rename(outside)
        (bundle / "portable").symlink_to(outside)
    else:
        (bundle / ENCODER).rename(outside)
        (bundle / ENCODER).symlink_to(outside)
    with pytest.raises(BundleError, match=r"the file 'portable/.*' is a link that leaves the bundle"):
        Bundle.open(bundle).graph_paths("portable")


def test_links_inside_the_bundle_and_to_the_bundle_are_fine(bundle: Path) -> None:
    (bundle / ENCODER).rename(bundle / "encoder")
    (bundle / ENCODER).symlink_to(bundle / "encoder")
    (bundle.parent / "link").symlink_to(bundle)
    assert Bundle.open(bundle.parent / "link").graph_paths("portable")["image_encoder"].is_file()


def test_plain_names_stay_inside(tmp_path: Path) -> None:
    assert inside(tmp_path, "a/b c.onnx") == tmp_path / "a" / "b c.onnx"
    assert inside(tmp_path, "größe.bin") == tmp_path / "größe.bin"


@pytest.mark.parametrize(
    ("location", "sentence"),
    [
        ("../../outside", "leaves the bundle"),
        ("/etc/passwd", "'/etc/passwd' leaves the bundle"),
        ("weights.bin", r"does not list the file portable/weights.bin"),
        ("", "does not list the file portable"),
        ("link", "'portable/link' is a link that leaves the bundle"),
    ],
)
def test_external_data_must_be_listed_and_inside(bundle: Path, location: str, sentence: str) -> None:
    (bundle.parent / "outside").write_bytes(b"secret")
    (bundle / "portable/link").symlink_to(bundle.parent / "outside")
    (bundle / "portable/weights.bin").write_bytes(b"weights")
    (bundle / ENCODER).write_bytes(reference(location))
    record_again(bundle, ENCODER)
    with pytest.raises(BundleError, match=rf"image_encoder.onnx reads external data: .*{sentence}"):
        Bundle.open(bundle).graph_paths("portable")


def test_external_data_is_checked_like_any_file(bundle: Path) -> None:
    (bundle / "portable/weights.bin").write_bytes(b"weights")
    (bundle / ENCODER).write_bytes(reference("weights.bin"))
    record_again(bundle, ENCODER)
    record_again(bundle, "portable/weights.bin")
    assert ENCODER in json.loads((bundle / MANIFEST).read_text())["files"]
    Bundle.open(bundle).graph_paths("portable")
    (bundle / "portable/weights.bin").write_bytes(b"WEIGHTS")
    with pytest.raises(BundleError, match=r"weights.bin is damaged: its SHA-256"):
        Bundle.open(bundle).graph_paths("portable")


def test_a_file_that_is_not_onnx(bundle: Path) -> None:
    (bundle / ENCODER).write_bytes(b"\xff" * 40)
    record_again(bundle, ENCODER)
    with pytest.raises(BundleError, match=r"image_encoder.onnx is not an ONNX file: a number has more than 64 bits"):
        Bundle.open(bundle).graph_paths("portable")
