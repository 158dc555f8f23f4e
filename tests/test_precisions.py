"""One export in every precision: what is shared, what differs, how far off it is, and which one a device takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from small_model import small_model, varied  # noqa: E402
from traced_graphs import read_all_but  # noqa: E402

from etam_onnx import Bundle, ImagePredictor, MaskGenerator, Tracker, VideoPredictor  # noqa: E402
from etam_onnx.cli import export as export_command  # noqa: E402
from etam_onnx.conversion.bundle_writer import export_bundle, steps  # noqa: E402
from etam_onnx.conversion.int8 import PARTS, to_int8  # noqa: E402
from etam_onnx.graphs.errors import BundleError  # noqa: E402
from etam_onnx.graphs.variants import PRECISIONS, VARIANTS, precision_of, system_of  # noqa: E402
from etam_onnx.runtime.networks import Networks  # noqa: E402
from etam_onnx.runtime.onnxruntime_backend import BEST_FIRST  # noqa: E402
from etam_onnx.verification import verify  # noqa: E402

ONNX = tuple(name for name in VARIANTS if not system_of(name))
"""The variants that ONNX Runtime runs."""
INTEGER = {"image_encoder", "frame_attention", "memory_attention_1", "memory_attention_14"}
ERROR = {"fp32": 1e-5, "fp16": 5e-3, "int8": 5e-2}
"""Largest error of any output, relative to the largest number of its tensor; measured 1.8e-6, 8.4e-4, 1.7e-2."""


@pytest.fixture(scope="module")
def bundle(every_precision: Path) -> Bundle:
    return Bundle.open(every_precision)


def kinds(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(path, load_external_data=False).graph.node}


def test_graphs_that_a_precision_leaves_alone_are_written_once(bundle: Bundle) -> None:
    files = bundle.manifest.variants
    assert list(files) == sorted(ONNX)
    same = {name for name in files["ort"] if files["ort"][name] == files["ort-int8"][name]}
    assert set(files["ort"]) - same == INTEGER
    assert not set(files["ort"].values()) & set(files["ort-fp16"].values())
    assert files["ort-int8"]["image_encoder"] == "ort/image_encoder_int8.onnx"
    assert {name.split("/")[0] for name in bundle.manifest.files} == {"portable", "ort", "vectors"}
    assert sorted(name for name in bundle.manifest.files if name.endswith(".bin")) == [
        "ort/weights.bin",
        "portable/weights.bin",
        "vectors/tensors.bin",
    ]


def test_integers_and_halves_are_where_they_belong(bundle: Bundle) -> None:
    for name, path in bundle.graph_paths("ort-int8").items():
        assert ("MatMulIntegerToFloat" in kinds(path)) == (name in INTEGER), name
        scores_too = name.endswith("attention_14") and "MultiHeadAttention" not in kinds(path)
        assert scores_too == name.endswith("attention_14"), name
    for name, path in bundle.graph_paths("ort-fp16").items():
        tensors = onnx.load(path, load_external_data=False).graph.initializer
        assert name == "memory_keys" or onnx.TensorProto.FLOAT16 in {tensor.data_type for tensor in tensors}, name


def test_errors_against_pytorch(bundle: Bundle) -> None:
    for variant, entries in bundle.manifest.parity.items():
        worst = max(entry["error"] for entry in entries)
        assert worst < ERROR[precision_of(variant)] <= entries[0]["tolerance"], (variant, worst)
        assert precision_of(variant) == "fp32" or worst > 1e-5, "it is another computation"


def test_a_clip_is_tracked_on_every_variant(bundle: Bundle) -> None:
    """Measured: all but 2 of 576 mask pixels in half precision and in integers, random weights."""
    outcome = verify(bundle)
    assert outcome.passed
    assert list(outcome.clips) == list(BEST_FIRST["cpu"])
    assert {variant: clip.tolerance for variant, clip in outcome.clips.items()} == {
        "ort-int8": 0.97,
        "ort": 0.999,
        "portable": 0.999,
        "ort-fp16": 0.99,
    }


def test_a_device_takes_the_best_it_runs(bundle: Bundle) -> None:
    assert Networks.open(bundle).variant == "ort-int8"
    for make in (Tracker, VideoPredictor, ImagePredictor):
        assert make(bundle, variant="ort").segmenter.networks.variant == "ort"
        assert make(bundle).segmenter.networks.variant == "ort-int8"
    assert MaskGenerator(bundle, variant="portable").predictor.segmenter.networks.variant == "portable"
    with pytest.raises(BundleError, match="the one asked for is 'fp32'"):
        Tracker(bundle, variant="fp32")
    assert BEST_FIRST["cuda"] == ("ort-fp16", "ort", "portable"), "integers are for CPUs"
    assert set(BEST_FIRST["cpu"]) == set(ONNX)


def test_one_precision_alone(every_precision: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_all_but(("image_encoder",), every_precision, monkeypatch)
    model, variants, seen = varied(small_model()), (PRECISIONS["int8"],), list[str]()
    export_bundle(
        model,
        tmp_path / "int8",
        variants=variants,
        memory_counts=(),
        vectors=False,
        int8_parts=("encoder",),
        progress=seen.append,
    )
    assert len(seen) == steps(model, memory_counts=(), variants=variants) - 1  # vectors are left out
    opened = Bundle.open(tmp_path / "int8")
    assert list(opened.manifest.variants) == ["ort-int8"]
    graphs = opened.graph_paths("ort-int8")
    assert {name for name, path in graphs.items() if path.stem.endswith("_int8")} == {"image_encoder"}
    assert {path.name for path in (tmp_path / "int8/ort").glob("image_encoder*")} == {"image_encoder_int8.onnx"}
    assert "MultiHeadAttention" in kinds(graphs["image_encoder"])
    assert Networks.open(opened).variant == "ort-int8"


def test_parts_have_names(linear: Callable[[], onnx.ModelProto]) -> None:
    assert tuple(PARTS) == export_command.INT8_PARTS
    with pytest.raises(ValueError, match="there is no part 'decoder' to put into integers, there are encoder, memory"):
        to_int8(linear(), "image_encoder", 8, [], parts=("decoder",))
    model = linear()
    assert to_int8(model, "mask_decoder", 8, []) is model
    assert to_int8(model, "image_encoder", 8, [], parts=("memory",)) is model


@pytest.fixture
def linear() -> Callable[[], onnx.ModelProto]:
    """A graph of one product."""
    from integer_graphs import graph_of, normal

    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    return lambda: graph_of([node], {"x": (5, 24)}, {"y": (5, 16)}, {"w": normal(24, 16, seed=1)})
