"""Core ML packages behind the tracking loop: interpreted, and through a stand-in for coremltools' `MLModel`."""

from __future__ import annotations

import platform
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
coremltools = pytest.importorskip("coremltools", reason="coremltools is not installed")

from damaged_vectors import with_wrong_output  # noqa: E402
from PIL import Image  # noqa: E402

from etam_onnx import Bundle, Tracker  # noqa: E402
from etam_onnx.cli.main import main  # noqa: E402
from etam_onnx.conversion.coreml.interpreted_backend import InterpretedBackend  # noqa: E402
from etam_onnx.conversion.coreml.interpreter import Interpreter  # noqa: E402
from etam_onnx.conversion.coreml.package_writer import read_program  # noqa: E402
from etam_onnx.graphs.variants import PACKAGED  # noqa: E402
from etam_onnx.runtime.coreml_backend import UNITS, CoreMLBackend, as_pixels  # noqa: E402
from etam_onnx.runtime.errors import BundleError, DeviceError  # noqa: E402
from etam_onnx.runtime.frame_result import FrameResult  # noqa: E402
from etam_onnx.runtime.networks import Networks  # noqa: E402
from etam_onnx.verification import array, open_vectors, verify  # noqa: E402

VARIANT = "coreml-ios18"
BEST_FIRST = tuple(PACKAGED[s, w] for w in ("fp16", "int8", "palette6") for s in ("iOS18", "iOS17"))


@pytest.fixture(scope="module")
def bundle(small_packages: Path) -> Bundle:
    """The small model as graphs in ONNX and packages for iOS 18."""
    return Bundle.open(small_packages)


@pytest.fixture(scope="module")
def interpreted(bundle: Bundle) -> Networks:
    return Networks.open(bundle, backend=InterpretedBackend())


def tracked(networks: Networks, bundle: Bundle) -> list[FrameResult]:
    """A clip: two clicks and a box on the first frame, then as it comes."""
    vectors = open_vectors(bundle)
    frames = [array(vectors.tensors[index]) for index in vectors.index["frames"]]
    tracker = Tracker(networks)
    tracker.step(frames[0])
    tracker.prompt(1, points=[(40, 40), (60, 50)], labels=[1, 1])
    results = [tracker.prompt(2, box=(10, 10, 70, 60))]
    return results + [tracker.step(frame) for frame in (*frames[1:], *frames[:2])]


def test_a_clip_is_tracked_as_onnx_runtime_tracks_it(bundle: Bundle, interpreted: Networks) -> None:
    assert (interpreted.variant, set(interpreted.runners)) == (VARIANT, set(bundle.graphs_of(VARIANT)))
    found, expected = tracked(interpreted, bundle), tracked(Networks.open(bundle, variant="portable"), bundle)
    assert len(found) == len(expected) >= 5
    overlaps = []
    for mine, other in zip(found, expected, strict=True):
        assert list(mine.ids) == list(other.ids) == [1, 2]
        for mask, wanted in zip(mine.masks, other.masks, strict=True):
            assert wanted.any()
            overlaps.append((mask & wanted).sum() / (mask | wanted).sum())
    assert min(overlaps) > 0.98, overlaps  # measured 0.9979


def test_single_precision_throughout_is_closer(bundle: Bundle) -> None:
    name, programs = "memory_attention_7", bundle.manifest.programs[VARIANT]
    calls = [(inputs, outputs) for graph, inputs, outputs in open_vectors(bundle).calls() if graph == name]
    errors = []
    for rounding in ("declared", None):
        backend = InterpretedBackend(rounding).reading(programs)
        run = backend.load(bundle.graphs_of(VARIANT)[name], path_of(bundle, name))
        found = [run(**{port: array(value) for port, value in inputs.items()})["fused"] for inputs, _ in calls]
        wanted = [array(outputs["fused"]) for _, outputs in calls]
        errors.append(max(np.abs(a - b).max() for a, b in zip(found, wanted, strict=True)))
    declared, none = errors
    assert none < declared / 2  # measured 1.3e-3 and 4.6e-3: weights are in half precision either way


def test_a_frame_is_rounded_to_pixels(bundle: Bundle, interpreted: Networks) -> None:
    image = np.random.default_rng(0).uniform(-3, 258, (1, 3, 96, 96)).astype(np.float32)
    pixels = as_pixels(image)
    assert pixels.shape == (96, 96, 3) and pixels.dtype == np.uint8
    assert pixels[3, 5, 2] == np.clip(np.rint(image[0, 2, 3, 5]), 0, 255)
    run = interpreted.runners["image_encoder"]
    again = pixels.transpose(2, 0, 1)[None].astype(np.float32)
    assert np.array_equal(run(image=image)["features"], run(image=again)["features"])
    graph, path = bundle.graphs_of(VARIANT)["image_encoder"], bundle.graph_paths(VARIANT)["image_encoder"]
    numbers = InterpretedBackend().load(graph, path)
    assert not np.array_equal(numbers(image=image)["features"], run(image=image)["features"])


def test_the_interpreter_refuses_other_edges(bundle: Bundle) -> None:
    graph, path = bundle.graphs_of(VARIANT)["memory_encoder"], bundle.graph_paths(VARIANT)["mask_decoder"]
    with pytest.raises(BundleError, match="the inputs of memory_encoder should be"):
        InterpretedBackend().load(graph, path)


class Model:
    """What `MLModel` does on macOS, by the interpreter; notes what it was asked."""

    made: list[tuple[str, str, str | None]]
    given: list[dict[str, Any]]
    refuses: tuple[type[Exception], str] | None

    def __init__(self, model: str, compute_units: Any, function_name: str | None) -> None:
        self.made.append((Path(model).name, compute_units.name, function_name))
        if self.refuses:
            kind, why = self.refuses
            warnings.warn(f"You will not be able to run predict() on this Core ML model. {why}", kind, stacklevel=2)
        self.spec = read_program(Path(model)).message
        self.interpreter = Interpreter(model, function_name)

    def get_spec(self) -> Any:
        return self.spec

    def predict(self, data: dict[str, Any]) -> dict[str, Any]:
        self.given.append(data)
        arrays = {
            name: np.asarray(value, np.float32).transpose(2, 0, 1)[None] if isinstance(value, Image.Image) else value
            for name, value in data.items()
        }
        return {name: value.astype(np.float16) for name, value in self.interpreter(**arrays).items()}


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], type[Model]]:
    """Makes this a macOS of some version, whose coremltools has `Model`."""

    def make(version: str = "15.1") -> type[Model]:
        made = type("FakeModel", (Model,), {"made": [], "given": [], "refuses": None})
        module = ModuleType("coremltools")
        module.__dict__.update(coremltools.__dict__)
        module.models = SimpleNamespace(MLModel=made)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "coremltools", module)
        monkeypatch.setattr(platform, "system", lambda: "Darwin")
        monkeypatch.setattr(platform, "mac_ver", lambda: (version, ("", "", ""), "arm64"))
        return made

    return make


def test_core_ml_is_tracked_with_by_the_same_loop(
    bundle: Bundle, interpreted: Networks, mac: Callable[[], type[Model]]
) -> None:
    model = mac()
    networks = Networks.open(bundle, "coreml")
    assert (networks.variant, networks.workers) == (VARIANT, 1)
    assert sorted(model.made, key=str) == [
        ("image_encoder.mlpackage", "ALL", None),
        ("mask_decoder.mlpackage", "ALL", None),
        *(
            ("memory_attention.mlpackage", "ALL", name)
            for name in ("memory_attention_1", "memory_attention_14", "memory_attention_7")
        ),
        ("memory_encoder.mlpackage", "ALL", None),
    ]
    for mine, other in zip(tracked(networks, bundle), tracked(interpreted, bundle), strict=True):
        assert mine.logits.dtype == np.float32
        assert np.array_equal(mine.logits, other.logits) and np.array_equal(mine.presence, other.presence)
    images = [given for given in model.given if "image" in given]
    assert all(isinstance(given["image"], Image.Image) and given["image"].mode == "RGB" for given in images)
    assert images and images[0]["image"].size == (96, 96)
    arrays = [value for given in model.given for value in given.values() if not isinstance(value, Image.Image)]
    assert {value.dtype for value in arrays} == {np.dtype(np.float16)}, "as the packages declare"


def test_a_tracker_takes_the_device(bundle: Bundle, mac: Callable[[], type[Model]]) -> None:
    mac()
    assert Tracker(bundle, device="coreml").segmenter.networks.variant == VARIANT


@pytest.mark.parametrize("units", sorted(UNITS))
def test_units_are_core_mls(units: str, bundle: Bundle, mac: Callable[[], type[Model]]) -> None:
    model = mac()
    CoreMLBackend(units).load(bundle.graphs_of(VARIANT)["memory_encoder"], path_of(bundle, "memory_encoder"))
    assert model.made == [("memory_encoder.mlpackage", units.upper(), None)]


def path_of(bundle: Bundle, graph: str) -> Path:
    return bundle.graph_paths(VARIANT)[graph]


def test_variants_by_the_system(mac: Callable[[str], type[Model]]) -> None:
    mac("15.0")
    assert CoreMLBackend().variants == BEST_FIRST == InterpretedBackend.variants
    mac("26.1")
    assert CoreMLBackend().variants == BEST_FIRST
    mac("14.7.1")
    assert CoreMLBackend().variants == tuple(name for name in BEST_FIRST if "ios17" in name)
    mac("13.6")
    with pytest.raises(DeviceError, match=r"needs macOS 14 or later, this is 13\.6"):
        CoreMLBackend()


def test_what_core_ml_refuses_is_said_at_load(bundle: Bundle, mac: Callable[[], type[Model]]) -> None:
    model = mac()
    model.refuses = RuntimeWarning, "Unable to compile"
    graph = bundle.graphs_of(VARIANT)["memory_encoder"]
    with pytest.raises(DeviceError, match=r"Core ML cannot load memory_encoder of .*Unable to compile"):
        CoreMLBackend().load(graph, path_of(bundle, "memory_encoder"))


def test_edges_and_inputs_are_checked(bundle: Bundle, mac: Callable[[], type[Model]]) -> None:
    mac()
    graphs = bundle.graphs_of(VARIANT)
    backend = CoreMLBackend()
    with pytest.raises(BundleError, match=r"input mask_logits of memory_encoder is missing, found \['features'"):
        backend.load(graphs["memory_encoder"], path_of(bundle, "mask_decoder"))
    encoder = graphs["image_encoder"]
    port = replace(encoder.inputs[0], shape=(1, 3, 64, 64))
    with pytest.raises(BundleError, match=r"input image .*expected \(1, 3, 64, 64\), found \(1, 3, 96, 96\)"):
        backend.load(replace(encoder, inputs=(port,)), path_of(bundle, "image_encoder"))
    programs = bundle.manifest.programs[VARIANT]
    stated = {"image_encoder": replace(programs["image_encoder"], frame="numbers")}
    with pytest.raises(BundleError, match="says that it takes numbers as a frame, it takes an image"):
        backend.reading(stated).load(encoder, path_of(bundle, "image_encoder"))
    runner = backend.load(encoder, path_of(bundle, "image_encoder"))
    with pytest.raises(ValueError, match="image_encoder: the input image is missing"):
        runner()
    with pytest.raises(DeviceError, match=r"image_encoder failed on Core ML: .*declared"):
        runner(image=np.zeros((1, 3, 64, 64), np.float32))
    with pytest.raises(ValueError, match="units are all, cpu_only, cpu_and_ne, cpu_and_gpu, found 'gpu'"):
        CoreMLBackend("gpu")


@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML is there")
def test_elsewhere_one_sentence_says_so(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DeviceError, match=r"^device 'coreml' needs macOS, this is [A-Z]"):
        Networks.open(bundle, "coreml")
    assert main(["verify", str(bundle.root), "--device", "coreml"]) == 1
    assert "error: device 'coreml' needs macOS" in capsys.readouterr().err


def test_a_missing_coremltools_names_what_to_install(
    bundle: Bundle, mac: Callable[[], type[Model]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mac()
    monkeypatch.setitem(sys.modules, "coremltools", None)
    with pytest.raises(DeviceError, match="needs coremltools, which is not installed: pip install"):
        CoreMLBackend()
    assert main(["verify", str(bundle.root), "--device", "coreml-interpreted"]) == 1
    assert "error: Core ML packages need coremltools: pip install 'etam-onnx[coreml]'" in capsys.readouterr().err


def test_verify_prints_the_table(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(bundle.root), "--device", "coreml-interpreted"]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[0] == VARIANT
    lines = [line.split() for line in shown.splitlines()]
    ports = {(g.name, p.name) for g in bundle.graphs_of(VARIANT).values() for p in g.outputs}
    rows = {(line[0], line[1]): line for line in lines if tuple(line[:2]) in ports}
    assert set(rows) == ports
    for row in rows.values():
        assert 1e-5 < float(row[3]) < 2e-2 == float(row[4])
    assert f"clip tracked again on {VARIANT}: 30 answers" in shown and "(99 asked for)" in shown


def test_one_variant_alone(bundle: Bundle) -> None:
    outcome = verify(bundle, variant="portable")
    assert list(outcome.clips) == list(outcome.calls) == ["portable"] and outcome.passed
    assert all(edge.error < 1e-5 for edge in outcome.edges)
    assert verify(bundle, variant="ort").calls == {}
    with pytest.raises(BundleError, match="the one asked for is 'coreml-ios17'"):
        verify(bundle, "coreml-interpreted", "coreml-ios17")


def test_a_wrong_number_fails(bundle: Bundle, tmp_path: Path) -> None:
    """One number among the recorded outputs of the memory encoder."""
    copy = with_wrong_output(bundle.root, tmp_path / "copy", "memory_encoder", "memory")
    outcome = verify(Bundle.open(copy), "coreml-interpreted", VARIANT)
    assert ("memory_encoder", "memory") in [(edge.graph, edge.port) for edge in outcome.edges if not edge.passed]
    assert not outcome.passed


def test_a_bundle_without_packages_or_vectors(
    bundle: Bundle, small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(small_bundle), "--device", "coreml-interpreted"]) == 1
    assert "has no variant for Core ML: export it again with --coreml" in capsys.readouterr().err
    files = {name: file for name, file in bundle.manifest.files.items() if "vectors" not in name}
    with pytest.raises(BundleError, match="has no test vectors"):
        verify(Bundle(bundle.root, replace(bundle.manifest, files=files)), "coreml-interpreted")
