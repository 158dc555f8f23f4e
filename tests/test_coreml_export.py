"""Exporting Core ML packages: edges, words, rules, equal bytes, measured parity."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("coremltools", reason="coremltools is not installed")

from coreml_graphs import GEOMETRY, GRAPHS, model, recorded, source  # noqa: E402
from small_model import CARD  # noqa: E402

from etam_onnx import Bundle  # noqa: E402
from etam_onnx.conversion.bundle_writer import export_bundle, steps  # noqa: E402
from etam_onnx.conversion.coreml.converter import converted  # noqa: E402
from etam_onnx.conversion.coreml.descriptions import Facts, describe, take_pixels  # noqa: E402
from etam_onnx.conversion.coreml.package_writer import Program, read_program, write_package  # noqa: E402
from etam_onnx.conversion.coreml.packages import FRAMES, measured, write_packages  # noqa: E402
from etam_onnx.conversion.coreml.reader import Function, read_package  # noqa: E402
from etam_onnx.conversion.scenario import Call  # noqa: E402
from etam_onnx.graphs.variants import PACKAGED, VARIANTS, system_of  # noqa: E402

VARIANT = "coreml-ios18"
FACTS = Facts("small-test-model", "somebody", "Apache-2.0", "1.2")
ATTENTION = ["memory_attention_1", "memory_attention_7", "memory_attention_14"]
ERROR = 5e-3
"""In half precision, of the largest value; measured at most 1.8e-3, in the mask decoder."""


@pytest.fixture(scope="module")
def bundle(packages: tuple[Path, list[str]]) -> Bundle:
    """A bundle with nothing but packages for iOS 18."""
    return Bundle.open(packages[0])


@pytest.fixture(scope="module")
def program() -> Program:
    """The memory encoder, converted on its own."""
    graph = GRAPHS["memory_encoder"]
    found = converted(source(graph.name), graph, "iOS18")
    describe(found, [graph], FACTS)
    return found


def calls() -> list[Call]:
    """Calls of every graph with what PyTorch makes of them."""
    return recorded()[1]


def functions(bundle: Bundle) -> dict[str, Function]:
    """The function of every graph."""
    stated = bundle.manifest.programs[VARIANT]
    paths = bundle.graph_paths(VARIANT)
    return {name: read_package(path).function(stated[name].function) for name, path in paths.items()}


def test_the_bundle_says_what_was_written(bundle: Bundle, packages: tuple[Path, list[str]]) -> None:
    manifest = bundle.manifest
    assert list(manifest.variants) == [VARIANT]
    assert manifest.variants[VARIANT] == {
        "image_encoder": "coreml/ios18/image_encoder.mlpackage",
        **dict.fromkeys(ATTENTION, "coreml/ios18/memory_attention.mlpackage"),
        "mask_decoder": "coreml/ios18/mask_decoder.mlpackage",
        "memory_encoder": "coreml/ios18/memory_encoder.mlpackage",
    }
    paths = bundle.graph_paths(VARIANT)
    assert set(paths) == set(GRAPHS) and all(path.is_dir() for path in paths.values())
    assert len([name for name in manifest.files if name.startswith("coreml/ios18/")]) == 4 * 3
    assert {name.split("/")[0] for name in manifest.files} == {"coreml", "vectors"}
    for name, program in manifest.programs[VARIANT].items():
        assert program.function == (name if name in ATTENTION else "main")
        assert program.frame == ("pixels" if name == "image_encoder" else "")
    assert len(packages[1]) == steps(model(), variants=(VARIANT,))


def test_errors_against_pytorch_are_recorded(bundle: Bundle) -> None:
    entries = bundle.manifest.parity[VARIANT]
    assert {(e["graph"], e["port"]) for e in entries} == {(g.name, p.name) for g in GRAPHS.values() for p in g.outputs}
    for entry in entries:
        assert 1e-5 < entry["error"] < ERROR <= entry["tolerance"], entry
        assert entry["calls"] >= 2


def test_edges_are_those_of_the_contract_in_half_precision(bundle: Bundle) -> None:
    for name, function in functions(bundle).items():
        outputs = {v.name: v.type for operation in function.operations for v in operation.outputs}
        inputs = {variable.name: variable.type for variable in function.inputs}
        for port in GRAPHS[name].inputs:
            assert (inputs[port.name].shape, inputs[port.name].dtype) == (
                port.shape,
                "fp32" if port.name == "image" else "fp16",
            )
        assert [(p.name, p.shape, "fp16") for p in GRAPHS[name].outputs] == [
            (key, outputs[key].shape, outputs[key].dtype) for key in function.outputs
        ]


def test_words_are_those_of_the_contract_and_the_card(bundle: Bundle) -> None:
    paths = bundle.graph_paths(VARIANT)
    for name, path in paths.items():
        description = read_program(path).message.description
        mine = {f.name: f for f in description.functions}.get(name, description)
        for features, ports in ((mine.input, GRAPHS[name].inputs), (mine.output, GRAPHS[name].outputs)):
            assert {f.name: f.shortDescription for f in features} == {port.name: port.doc for port in ports}
        facts = description.metadata
        assert (facts.author, facts.license, facts.versionString) == ("somebody", "Apache-2.0", "1.2")
        assert GRAPHS[name].doc in (facts.shortDescription.split(": ", 1)[1], facts.userDefined[name])
        content = b"".join(file.read_bytes() for file in path.rglob("*") if file.is_file())
        for trace in (b"conversion_date", b"site-packages", b".py", b"torch=="):
            assert trace not in content, (name, trace)
    attention = read_program(paths["memory_attention_7"]).message.description
    assert [function.name for function in attention.functions] == ATTENTION
    assert attention.defaultFunctionName == ATTENTION[-1]


def test_the_frame_is_an_image_of_8_bits(bundle: Bundle) -> None:
    message = read_program(bundle.graph_paths(VARIANT)["image_encoder"]).message
    (feature,) = message.description.input
    image = feature.type.imageType
    assert (image.width, image.height, image.ColorSpace.Name(image.colorSpace)) == (96, 96, "RGB")
    assert message.specificationVersion == 9


def test_no_operator_or_shape_leaves_the_neural_engine(bundle: Bundle) -> None:
    forbidden = {"gather", "gather_nd", "equal", "greater", "less", "logical_not", "pad", "select", "cond"}
    for name, function in functions(bundle).items():
        assert bundle.manifest.programs[VARIANT][name].operators == function.histogram()
        kinds = set(function.histogram())
        assert not kinds & forbidden and "batch_norm" not in kinds, name
        assert function.histogram().get("cast", 0) == (name == "image_encoder")
        for operation in function.operations:
            for variable in operation.outputs:
                assert len(variable.type.shape) <= 4 and max(variable.type.shape, default=0) <= 16_384, variable
                assert operation.kind == "const" or variable.type.dtype != "fp32", (name, operation.kind, variable)


def test_memory_attention_stores_its_weights_once(bundle: Bundle) -> None:
    path = bundle.graph_paths(VARIANT)["memory_attention_1"]
    weights = sum(parameter.numel() for parameter in model().memory_attention.parameters()) * 2
    assert (path / "Data/com.apple.CoreML/weights/weight.bin").stat().st_size < 1.3 * weights


def test_the_same_weights_give_the_same_bytes(bundle: Bundle, program: Program, tmp_path: Path) -> None:
    again = tmp_path / "memory_encoder.mlpackage"
    names = write_package(program, again)
    first = bundle.graph_paths(VARIANT)["memory_encoder"]
    assert sorted(path.relative_to(first).as_posix() for path in first.rglob("*") if path.is_file()) == names
    for name in names:
        assert (first / name).read_bytes() == (again / name).read_bytes(), name


@pytest.mark.slow
def test_the_same_model_gives_the_same_packages(bundle: Bundle, tmp_path: Path) -> None:
    export_bundle(model(), tmp_path / "again", variants=(VARIANT,), card=CARD)
    assert Bundle.open(tmp_path / "again").manifest == bundle.manifest


@pytest.mark.parametrize("name", ["image_encoder", "memory_encoder"])
def test_in_single_precision_it_is_the_plain_model(name: str, tmp_path: Path) -> None:
    """Both graphs whose form for Core ML is another than the portable one; an image is but another description."""
    graph = GRAPHS[name]
    program = converted(source(name), graph, "iOS17", precision="fp32")
    write_package(program, tmp_path / "array.mlpackage")
    errors, stated = measured(tmp_path / "array.mlpackage", [graph], calls(), "fp32")
    assert max(error.error for error in errors) < 5e-6  # measured 6e-7
    assert stated[name].operators["layer_norm"] == 6
    described, inside = program.message.description.input[0], program.message.mlProgram
    before = inside.SerializeToString(deterministic=True)
    assert described.type.WhichOneof("Type") == "multiArrayType"
    take_pixels(program)
    assert described.type.WhichOneof("Type") == ("imageType" if name == "image_encoder" else "multiArrayType")
    assert inside.SerializeToString(deterministic=True) == before


def test_a_wrong_number_is_out_of_tolerance(bundle: Bundle) -> None:
    wanted = [call for call in calls() if call.graph == "memory_encoder"]
    path = bundle.graph_paths(VARIANT)["memory_encoder"]
    errors, stated = measured(path, [GRAPHS["memory_encoder"]], wanted, "fp16")
    assert [error.passed for error in errors] == [True] and set(stated) == {"memory_encoder"}
    wanted[-1] = replace(wanted[-1], outputs={"memory": wanted[-1].outputs["memory"] * 1.05})
    errors, _ = measured(path, [GRAPHS["memory_encoder"]], wanted, "fp16")
    assert [error.passed for error in errors] == [False]


def test_every_system_and_kind_of_weights_is_a_variant() -> None:
    assert set(PACKAGED) == {(s, w) for s in ("iOS17", "iOS18") for w in ("fp16", "int8", "palette6")}
    assert PACKAGED["iOS17", "fp16"] == "coreml-ios17" and PACKAGED["iOS18", "int8"] == "coreml-ios18-int8"
    for (system, weights), name in PACKAGED.items():
        assert (VARIANTS[name].system, VARIANTS[name].precision, VARIANTS[name].edges) == (system, weights, "portable")
    assert system_of("portable") == system_of("unheard of") == ""
    for graph in GRAPHS.values():
        assert list(graph.tolerance.values()) == sorted(graph.tolerance.values())


def test_a_frame_goes_in_one_of_two_ways(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a frame goes in as pixels or numbers, not as video"):
        write_packages(model(), GEOMETRY, tmp_path, (VARIANT,), [], FACTS, frame="video")
    assert FRAMES[0] == "pixels"


def test_facts_come_from_the_card() -> None:
    assert Facts.of_card("m", CARD, "0") == replace(FACTS, model="m")
    assert Facts.of_card("m", {}, "0.1") == Facts("m", "", "", "0.1")
