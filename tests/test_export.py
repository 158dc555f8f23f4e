"""Exporting: edges, rules, determinism, measured parity, and nothing half-written."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from damaged_vectors import with_wrong_output  # noqa: E402
from onnxruntime.tools.mobile_helpers import usability_checker  # noqa: E402
from small_model import small_config, small_model, varied  # noqa: E402
from traced_graphs import read_all_but  # noqa: E402

from etam_onnx import Bundle, VideoPredictor  # noqa: E402
from etam_onnx.conversion import bundle_writer  # noqa: E402
from etam_onnx.conversion.bundle_writer import DEFAULT_VARIANTS, export_bundle, steps  # noqa: E402
from etam_onnx.conversion.onnx_graph import OPSET, ExportError  # noqa: E402
from etam_onnx.conversion.portable import memory_attention as portable_attention  # noqa: E402
from etam_onnx.conversion.portable import portable_graph  # noqa: E402
from etam_onnx.conversion.portable_rules import breaches  # noqa: E402
from etam_onnx.conversion.shared_weights import is_exact_in_half  # noqa: E402
from etam_onnx.graphs.contract import contract, memory_port  # noqa: E402
from etam_onnx.graphs.errors import BundleError  # noqa: E402
from etam_onnx.manifest_of_model import geometry_of  # noqa: E402
from etam_onnx.runtime.parity import relative_error  # noqa: E402
from etam_onnx.torch_backend import reference_function  # noqa: E402
from etam_onnx.verification import verify  # noqa: E402

KINDS = ("full", "pooled_score_bias", "pooled_key_constant")


def test_the_bundle_opens_and_says_what_was_exported(small_bundle: Path) -> None:
    opened = Bundle.open(small_bundle)
    assert opened.manifest.model == "small-test-model"
    assert opened.manifest.source["config"]["cross_attention"] == "pooled_score_bias"
    assert opened.manifest.card == {"licence": "none"}
    assert list(opened.manifest.parity) == sorted(DEFAULT_VARIANTS)
    for variant, entries in opened.manifest.parity.items():
        measured = {(entry["graph"], entry["port"]) for entry in entries}
        graphs = opened.graphs_of(variant).values()
        assert measured == {(graph.name, port.name) for graph in graphs for port in graph.outputs}
        assert all(entry["error"] <= entry["tolerance"] for entry in entries)
    assert not list(small_bundle.parent.glob(".*")), "the working folder is gone"


def test_edges_and_documentation_are_the_contracts(small_bundle: Path) -> None:
    opened = Bundle.open(small_bundle)
    for variant in DEFAULT_VARIANTS:
        graphs = opened.graphs_of(variant)
        for name, path in opened.graph_paths(variant).items():
            graph = onnx.load(path, load_external_data=False).graph
            for ports, values in ((graphs[name].inputs, graph.input), (graphs[name].outputs, graph.output)):
                assert [port.name for port in ports] == [value.name for value in values]
                assert [port.doc for port in ports] == [value.doc_string for value in values]


def test_wrappers_take_the_ports_in_order() -> None:
    model = small_model()
    geometry = geometry_of(model.config)
    for name, graph in contract(geometry).items():
        parameters = list(inspect.signature(portable_graph(model, geometry, name).forward).parameters.values())
        if (
            parameters[-1].kind is inspect.Parameter.VAR_POSITIONAL
        ):  # memory attention: features, then the rest in order
            assert [parameters[0].name] == [graph.inputs[0].name]
        else:
            assert [p.name for p in parameters] == [port.name for port in graph.inputs]


def test_operator_sets_are_those_that_nodes_use(small_bundle: Path) -> None:
    for variant in DEFAULT_VARIANTS:
        for path in sorted(small_bundle.glob(f"{variant}/*.onnx")):
            model = onnx.load(path, load_external_data=False)
            sets = {entry.domain: entry.version for entry in model.opset_import}
            assert sets[""] == OPSET
            assert set(sets) == {node.domain for node in model.graph.node} | {""}, path
            assert variant != "portable" or set(sets) == {""}
    attention = onnx.load(small_bundle / "ort/image_encoder.onnx", load_external_data=False)
    assert "MultiHeadAttention" in {node.op_type for node in attention.graph.node}


def test_graphs_obey_the_portable_rules_in_one_core_ml_partition(small_bundle: Path) -> None:
    for path in sorted(small_bundle.glob("portable/*.onnx")):
        model = onnx.load(path, load_external_data=False)
        assert breaches(model) == [], path.name
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        info = usability_checker.check_coreml_partitions(inferred, False, "coreml_supported_mlprogram_ops.md")
        assert (info.num_partitions, info.unsupported_ops) == (1, set()), path.name


def test_rules_notice_a_breach() -> None:
    node = onnx.helper.make_node("Gather", ["x", "i"], ["y"], "bad", axis=0)
    values = [onnx.helper.make_tensor_value_info(n, 1, s) for n, s in (("x", [20000, 1]), ("y", [2, 1]))]
    index = onnx.numpy_helper.from_array(np.array([0, 1]), "i")
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:], [index])
    found = breaches(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)]))
    assert [line.split(":")[0] for line in found] == ["no dimension above 16384", "no selection by index or comparison"]


def test_the_same_weights_give_the_same_bytes(small_bundle: Path, every_precision: Path) -> None:
    """Two exports, the second of which adds variants and leaves out numbers of memories: files of the portable graphs,
    and whatever a graph with the other edges says, weights included, wherever they lie in the file they share.
    """
    first, second = (json.loads((path / "manifest.json").read_text()) for path in (small_bundle, every_precision))
    portable = {name for name in first["files"] if name.startswith("portable/")}
    assert len(portable) == 7
    assert {n: first["files"][n] for n in portable} == {n: second["files"][n] for n in portable}
    assert len([name for name in first["files"] if name.startswith("ort/")]) == 12
    both = first["variants"]["ort"].keys() & second["variants"]["ort"].keys()
    assert both == second["variants"]["ort"].keys() and "image_encoder" in both
    for name in both:
        one, other = (onnx.load(root / f"ort/{name}.onnx") for root in (small_bundle, every_precision))
        assert one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True), name


@pytest.mark.slow
def test_the_same_export_gives_the_same_files(small_bundle: Path, tmp_path: Path) -> None:
    again, seen = tmp_path / "again", list[str]()
    export_bundle(varied(small_model()), again, variants=DEFAULT_VARIANTS, progress=seen.append)
    first, second = (json.loads((path / "manifest.json").read_text()) for path in (small_bundle, again))
    graph_files = {name for name in first["files"] if name.startswith(("portable/", "ort/"))}
    assert len(graph_files) == 7 + 12
    assert {n: first["files"][n] for n in graph_files} == {n: second["files"][n] for n in graph_files}
    assert len(seen) == steps(small_model(), variants=DEFAULT_VARIANTS)


def test_files_hold_no_trace_of_where_they_were_made(small_bundle: Path) -> None:
    for path in small_bundle.glob("*/*.onnx"):
        content = path.read_bytes()
        assert b"site-packages" not in content and b".py" not in content


def test_weights_are_stored_once(small_bundle: Path) -> None:
    model = small_model()
    attention = sum(p.numel() for p in model.memory_attention.parameters()) * 4
    total = sum(p.numel() for p in model.parameters()) * 4
    assert (small_bundle / "portable/weights.bin").stat().st_size < total + attention  # three graphs share one copy
    derived = 16 * small_model().config.grid ** 2 * 64 * 4  # tables of positions and fused projections
    assert (small_bundle / "ort/weights.bin").stat().st_size < total + attention + derived  # five graphs do


def test_half_storage_only_where_it_is_exact() -> None:
    assert is_exact_in_half(np.float32([0.5, -1024, 0.0999755859375]))
    assert not is_exact_in_half(np.float32([0.1]))
    assert not is_exact_in_half(np.float32([70000]))


@pytest.fixture(scope="module")
def half_exact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of weights that half precision holds, with a capacity of 2 prompted frames."""
    path = tmp_path_factory.mktemp("half") / "half"
    model = small_model()
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.half().float()
    export_bundle(model, path, prompted_frames=2, variants=("portable",), vectors=False)
    return path


def test_half_exact_weights_shrink_the_file_and_change_nothing(half_exact: Path) -> None:
    manifest = Bundle.open(half_exact).manifest
    floats = sum(p.numel() for p in small_model().parameters()) * 4
    assert manifest.files["portable/weights.bin"].size < 0.75 * floats
    assert max(entry["error"] for entry in manifest.parity["portable"]) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("slots", [1, 7, 14])
def test_masked_slots_equal_absent_ones(kind: str, slots: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every number of used slots, with garbage in the unused ones, both ways of taking the softmax."""
    model = small_model(kind)  # type: ignore[arg-type]
    geometry = geometry_of(model.config)
    reference = reference_function(model, f"memory_attention_{slots}")
    rng = np.random.default_rng(1)
    module = portable_graph(model, geometry, f"memory_attention_{slots}")
    graph = contract(geometry)[f"memory_attention_{slots}"]
    for used in {min(2, slots), slots // 2 or 1, slots}:
        if slots > 1 and used == 1:
            continue
        inputs = {port.name: torch.from_numpy(rng.standard_normal(port.shape, np.float32)) for port in graph.inputs}
        row = torch.zeros(slots, geometry.temporal_rows)
        for slot in range(used):
            row[slot, int(rng.integers(geometry.temporal_rows))] = 1
        inputs["memory_row"] = row
        for slot in range(used, slots):
            inputs[memory_port(slot)] = 50 * inputs[memory_port(slot)]
        for pointers in (0, 5, geometry.pointer_slots):
            inputs["pointer_used"] = (torch.arange(geometry.pointer_slots) < pointers).float()[:, None]
            for largest in (portable_attention.LARGEST_DIMENSION, 1):
                monkeypatch.setattr(portable_attention, "LARGEST_DIMENSION", largest)
                with torch.inference_mode():
                    found = module(*(inputs[port.name] for port in graph.inputs))
                    wanted = reference(inputs)["fused"]
                assert relative_error(found.numpy(), wanted.numpy()) < 5e-6, (used, pointers, largest)  # measured 6e-7


def test_unused_prompt_slots_equal_absent_ones() -> None:
    model = small_model()
    geometry = geometry_of(model.config)
    module, reference = portable_graph(model, geometry, "mask_decoder"), reference_function(model, "mask_decoder")
    graph = contract(geometry)["mask_decoder"]
    rng = np.random.default_rng(2)
    for used in (0, 1, 2, 3, 9, 16):
        inputs = {port.name: torch.from_numpy(rng.standard_normal(port.shape, np.float32)) for port in graph.inputs}
        inputs["points"] = inputs["points"] * 30 + 48
        label = torch.zeros(1, 16, 5)
        for slot in range(used):
            label[0, slot, int(rng.integers(5))] = 1
        inputs["point_label"] = label
        for mask_used in (0.0, 1.0):
            inputs["mask_used"] = torch.tensor([mask_used])
            with torch.inference_mode():
                found = module(*(inputs[port.name] for port in graph.inputs))
                wanted = reference(inputs)
            for port, value in zip(graph.outputs, found, strict=True):
                assert relative_error(value.numpy(), wanted[port.name].numpy(), port.unit) < 5e-6, (used, port.name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_is_tracked_alike_by_pytorch_and_onnx(kind: str, small_bundles: Callable[[str], Path]) -> None:
    """`verify` tracks the recorded clip again, from prompts to masks, on the usual variants."""
    outcome = verify(Bundle.open(small_bundles(kind)))
    assert outcome.passed
    assert set(outcome.clips) == set(DEFAULT_VARIANTS)
    for clip in outcome.clips.values():
        assert clip.agreement == 1 and clip.error < 1e-5  # measured 1.3e-6
        assert clip.answers >= 15


def test_verify_finds_a_wrong_output(small_bundle: Path, tmp_path: Path) -> None:
    """One changed number in the recorded outputs of one graph."""
    copy = with_wrong_output(small_bundle, tmp_path / "copy", "mask_decoder", "iou")
    outcome = verify(Bundle.open(copy))
    assert not outcome.passed
    assert [(e.graph, e.port) for e in outcome.edges if not e.passed] == [("mask_decoder", "iou")]


def test_verify_needs_vectors(small_bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(small_bundle, tmp_path / "bare", ignore=shutil.ignore_patterns("vectors"))
    manifest = json.loads((small_bundle / "manifest.json").read_text())
    manifest["files"] = {name: entry for name, entry in manifest["files"].items() if "vectors" not in name}
    (tmp_path / "bare/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="has no test vectors"):
        verify(Bundle.open(tmp_path / "bare"))


def test_vectors_cover_every_graph_and_absence(small_bundle: Path) -> None:
    index = json.loads((small_bundle / "vectors/index.json").read_text())
    assert {call["graph"] for call in index["calls"]} == set(Bundle.open(small_bundle).graphs_of("portable"))
    assert {result["presence"] > 0 for result in index["results"]} == {True, False}


def test_export_fails_when_out_of_tolerance_and_leaves_nothing(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = bundle_writer.portable_graph

    def wrong(model: torch.nn.Module, geometry: object, name: str) -> torch.nn.Module:
        module = real(model, geometry, name)  # type: ignore[arg-type]
        if name == "image_encoder":
            module.position = module.position + 1e-3
        return module

    monkeypatch.setattr(bundle_writer, "portable_graph", wrong)
    read_all_but(("image_encoder",), small_bundle, monkeypatch)
    with pytest.raises(ExportError, match=r"image_encoder: output features.* differs from PyTorch by"):
        export_bundle(varied(small_model()), tmp_path / "wrong", variants=("portable",))
    assert list(tmp_path.iterdir()) == []


def test_export_does_not_overwrite(small_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="exists already"):
        export_bundle(small_model(), small_bundle)
    precious = tmp_path / "precious"
    precious.mkdir()
    with pytest.raises(ExportError, match="is not a bundle"):
        export_bundle(small_model(), precious, overwrite=True)
    with pytest.raises(ExportError, match="does not exist"):
        export_bundle(small_model(), tmp_path / "nowhere" / "bundle")


def test_unknown_variants_are_refused(tmp_path: Path) -> None:
    for variants, found in ((("portable", "fast"), r"\['fast'\]"), ((), "none")):
        with pytest.raises(
            ExportError, match=f"the variants are portable, ort, ort-int8, ort-fp16, coreml-.*, found {found}"
        ):
            export_bundle(small_model(), tmp_path / "new", variants=variants)
    with pytest.raises(ValueError, match=r"need at least one memory slot, found \[0, 2\]"):
        export_bundle(small_model(), tmp_path / "new", variants=DEFAULT_VARIANTS, memory_counts=(0, 2))
    assert list(tmp_path.iterdir()) == []


def test_more_prompted_frames_than_the_bundle_holds(half_exact: Path) -> None:
    """Capacity 2: the closest frames are used, with one warning."""
    predictor = VideoPredictor(half_exact)
    frames = [np.random.default_rng(i).integers(0, 255, (60, 80, 3), np.uint8) for i in range(5)]
    state = predictor.init_state(frames)
    for frame in (0, 2, 4):
        predictor.add_new_points_or_box(state, frame, 1, [[40, 30]], [1])
    with pytest.warns(UserWarning, match="this bundle attends to 2"):
        answers = list(predictor.propagate_in_video(state))
    assert [frame for frame, _, _ in answers] == [0, 1, 2, 3, 4]
    assert list(predictor.propagate_in_video(state))[-1][0] == 4


def test_small_config_is_what_the_tests_think() -> None:
    config = small_config()
    assert (config.grid, config.grid % config.vit_window) == (6, 2)
