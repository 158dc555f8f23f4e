"""Reading saved packages: what is in them, and one sentence for everything that is wrong with them."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("coreml_programs", reason="coremltools is not installed")

from coreml_programs import converted, ct, mb, quietly, saved_program
from coremltools.proto import FeatureTypes_pb2, MIL_pb2, Model_pb2

from etam_onnx.conversion.coreml.interpreter import Interpreter
from etam_onnx.conversion.coreml.reader import Literal, ProgramError, TensorType, read_package
from etam_onnx.conversion.coreml.reader.packed_bits import signed, unpack
from etam_onnx.conversion.coreml.reader.weight_file import RECORD, WeightFile

MODEL = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"
KERNEL = np.random.default_rng(0).standard_normal((3, 2, 3, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution with its kernel in the weight file, and a few constants in the program."""

    def build(x: Any) -> Any:
        y = mb.conv(x=x, weight=KERNEL, pad_type="custom", pad=[1, 1, 1, 1], name="blurred")
        return mb.mul(x=y, y=np.float32([[[0.5]], [[1]], [[2]]]), name="out")

    path = tmp_path_factory.mktemp("packages") / "whole.mlpackage"
    return saved_program(path, build, [np.zeros((1, 2, 4, 5), np.float32)], "iOS17")


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """One to damage."""
    return shutil.copytree(whole, tmp_path / "copy.mlpackage")


def edit(package: Path, change: Callable[[Any], object]) -> None:
    model = Model_pb2.Model()
    model.ParseFromString((package / MODEL).read_bytes())
    change(model)
    (package / MODEL).write_bytes(model.SerializeToString())


def block_of(model: Any) -> Any:
    return model.mlProgram.functions["main"].block_specializations["CoreML7"]


def operation_of(model: Any, kind: str) -> Any:
    return next(operation for operation in block_of(model).operations if operation.type == kind)


def test_a_package_as_plain_data(whole: Path) -> None:
    package = read_package(whole)
    assert (package.name, package.default_function, package.specification_version) == ("whole.mlpackage", "main", 8)
    function = package.function()
    assert function.opset == "CoreML7" and function.outputs == ("out",)
    assert [(value.name, str(value.type)) for value in function.inputs] == [("x0", "fp32 [1, 2, 4, 5]")]
    assert function.histogram() == {"conv": 1, "mul": 1}
    convolution = next(operation for operation in function.operations if operation.kind == "conv")
    constants = {operation.name: operation for operation in function.operations if operation.kind == "const"}
    assert convolution.name == "blurred" and convolution.arguments["x"] == ("x0",)
    (kernel,) = constants[str(convolution.arguments["weight"][0])].arguments["val"]
    assert isinstance(kernel, Literal) and kernel.type == TensorType("fp32", (3, 2, 3, 3))
    np.testing.assert_array_equal(kernel.array, KERNEL)
    with pytest.raises(ProgramError, match=r"no function is called 'other', there are main"):
        package.function("other")


def test_descriptions_and_metadata(tmp_path: Path) -> None:
    def convert() -> None:
        program = mb.program(input_specs=[mb.TensorSpec((2, 3))])(lambda x: mb.relu(x=x, name="y"))
        model = converted(program, tmp_path / "first.mlpackage", "iOS17", "fp32")
        model.author, model.license, model.short_description = "somebody", "Apache-2.0", "a ramp"
        model.user_defined_metadata["made of"] = "nothing"
        model.input_description["x"], model.output_description["y"] = "in", "out"
        model.save(str(tmp_path / "described.mlpackage"))

    quietly(convert)
    package = read_package(tmp_path / "described.mlpackage")
    facts = {key: package.metadata[key] for key in ("author", "licence", "description", "made of")}
    assert facts == {"author": "somebody", "licence": "Apache-2.0", "description": "a ramp", "made of": "nothing"}
    (feature,) = package.inputs["main"]
    assert (feature.name, str(feature.type), feature.doc) == ("x", "fp32 [2, 3]", "in")
    assert [feature.doc for feature in package.outputs["main"]] == ["out"]


def test_a_picture_is_an_array_inside(tmp_path: Path) -> None:
    def convert() -> None:
        program = mb.program(input_specs=[mb.TensorSpec((1, 3, 4, 6))])(lambda x: mb.square(x=x, name="y"))
        picture = ct.ImageType(name="x", shape=(1, 3, 4, 6), color_layout=ct.colorlayout.RGB)
        converted(program, tmp_path / "picture.mlpackage", "iOS17", "fp32", inputs=[picture])

    quietly(convert)
    package = read_package(tmp_path / "picture.mlpackage")
    (feature,) = package.inputs["main"]
    assert (feature.image, str(feature.type)) == ("RGB", "uint8 [1, 3, 4, 6]")
    pixels = np.arange(72, dtype=np.float32).reshape(1, 3, 4, 6)
    np.testing.assert_array_equal(Interpreter(package)(x=pixels)["y"], pixels**2)


@pytest.mark.parametrize("bits", range(1, 9))
def test_packed_numbers(bits: int) -> None:
    """Written as one long binary number, the first in its lowest bits."""
    numbers = np.random.default_rng(bits).integers(0, 1 << bits, 37)
    stream = sum(int(number) << (bits * i) for i, number in enumerate(numbers))
    data = np.frombuffer(stream.to_bytes((37 * bits + 7) // 8, "little"), np.uint8)
    np.testing.assert_array_equal(unpack(data, bits, 37), numbers)
    below_zero = numbers - (1 << bits) * (numbers >> (bits - 1))
    np.testing.assert_array_equal(signed(unpack(data, bits, 37), bits), below_zero)


def test_every_type_of_a_weight_file(tmp_path: Path) -> None:
    """Written by coremltools' own writer."""
    from coremltools.converters.mil.mil import types
    from coremltools.libmilstoragepython import _BlobStorageWriter

    rng = np.random.default_rng(1)
    writer = _BlobStorageWriter(str(tmp_path / "weight.bin"))
    written = []
    for dtype, method in (
        ("float32", "float"),
        ("int8", "int8"),
        ("uint8", "uint8"),
        ("int16", "int16"),
        ("uint16", "uint16"),
        ("int32", "int32"),
        ("uint32", "uint32"),
    ):
        values = (rng.standard_normal(30) * 100).astype(dtype)
        name = "fp32" if dtype == "float32" else dtype
        written.append((getattr(writer, f"write_{method}_data")(values), name, values))
    half = rng.standard_normal(30).astype(np.float16)
    written.append((writer.write_fp16_data(half.view(np.uint16)), "fp16", half))
    for name in ("uint1", "uint2", "uint3", "uint4", "uint6", "int4"):
        bits = int(name[-1])
        low, high = (-(1 << bits - 1), 1 << bits - 1) if name == "int4" else (0, 1 << bits)
        values = rng.integers(low, high, 30).astype(types.type_mapping.string_to_nptype(name))
        written.append((getattr(writer, f"write_{name}_data")(values), name, values))
    del writer
    file = WeightFile(tmp_path / "weight.bin")
    for offset, name, values in written:
        literal = file.literal(offset, TensorType(name, (5, 6)))
        np.testing.assert_array_equal(literal.array, np.asarray(values).reshape(5, 6), err_msg=name)
        assert file.literal(offset, TensorType(name, (5, 6))) is literal, "read once"


def write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def overwrite(path: Path, offset: int, data: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[offset : offset + len(data)] = data
    path.write_bytes(content)


FILES: list[tuple[str, Callable[[Path], object], str]] = [
    ("no manifest", lambda p: (p / "Manifest.json").unlink(), r"Manifest.json is missing or names no model"),
    ("a list as manifest", lambda p: write(p / "Manifest.json", b"[]"), r"Manifest.json is missing or names no model"),
    ("no model", lambda p: (p / MODEL).unlink(), r"model.mlmodel is missing or damaged"),
    (
        "half a model",
        lambda p: write(p / MODEL, (p / MODEL).read_bytes()[:-40]),
        r"model.mlmodel is missing or damaged",
    ),
    ("an empty model", lambda p: write(p / MODEL, b""), r"expected an ML program, found nothing"),
    ("no weights", lambda p: (p / WEIGHTS).unlink(), r"the weight file cannot be read \(No such file or directory\)"),
    ("no numbers", lambda p: write(p / WEIGHTS, b"1234"), r"has at least 64 bytes, this has 4"),
    ("another version", lambda p: overwrite(p / WEIGHTS, 4, b"\3"), r"a weight file of version 2, found 3"),
    (
        "half the weights",
        lambda p: write(p / WEIGHTS, (p / WEIGHTS).read_bytes()[:200]),
        r"end at byte 344, the file at 200",
    ),
    ("no record", lambda p: overwrite(p / WEIGHTS, 64, b"\0\0\0\0"), r"record at byte 64: there is no record"),
    (
        "another type",
        lambda p: overwrite(p / WEIGHTS, 68, b"\1"),
        r"declares fp32 \[3, 2, 3, 3\], the record holds fp16",
    ),
    ("unknown type", lambda p: overwrite(p / WEIGHTS, 68, b"\x63"), r"the record holds type 99"),
    (
        "another size",
        lambda p: overwrite(p / WEIGHTS, 72, struct.pack("<Q", 212)),
        r"takes 216 bytes, the record has 212",
    ),
    ("far away", lambda p: overwrite(p / WEIGHTS, 80, struct.pack("<Q", 1 << 60)), r"its numbers end at byte 11529"),
]


@pytest.mark.parametrize(("damage", "message"), [case[1:] for case in FILES], ids=[case[0] for case in FILES])
def test_damaged_files(copy: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(copy)
    with pytest.raises(ProgramError, match=message) as caught:
        read_package(copy)
    assert "\n" not in str(caught.value)
    assert copy.name in str(caught.value)


def replace_type(model: Any) -> None:
    model.neuralNetwork.SetInParent()


def remove_block(model: Any) -> None:
    block_of(model)
    del model.mlProgram.functions["main"].block_specializations["CoreML7"]


def rename_opset(model: Any) -> None:
    function = model.mlProgram.functions["main"]
    function.block_specializations["CoreML99"].CopyFrom(block_of(model))
    del function.block_specializations["CoreML7"]
    function.opset = "CoreML99"


def use_too_early(model: Any) -> None:
    operation_of(model, "conv").inputs["x"].arguments[0].name = "out"


def name_twice(model: Any) -> None:
    operation_of(model, "conv").outputs[0].name = "x0"


def free_a_dimension(model: Any) -> None:
    operation_of(model, "mul").outputs[0].type.tensorType.dimensions[0].unknown.variadic = False


def miscount_a_constant(model: Any) -> None:
    constant = next(op for op in block_of(model).operations if op.attributes["val"].immediateValue.tensor.ints.values)
    constant.attributes["val"].immediateValue.tensor.ints.values.append(1)


def retype_a_constant(model: Any) -> None:
    constant = next(op for op in block_of(model).operations if op.attributes["val"].immediateValue.tensor.ints.values)
    constant.attributes["val"].type.tensorType.dataType = MIL_pb2.DataType.FLOAT32


def leave_the_package(model: Any) -> None:
    stored = next(op for op in block_of(model).operations if op.attributes["val"].HasField("blobFileValue"))
    stored.attributes["val"].blobFileValue.fileName = "@model_path/../../../weight.bin"


def name_no_file(model: Any) -> None:
    stored = next(op for op in block_of(model).operations if op.attributes["val"].HasField("blobFileValue"))
    stored.attributes["val"].blobFileValue.fileName = "@model_path/weights/weight\0bin"


def use_an_operator_of_two_lines(model: Any) -> None:
    operation_of(model, "mul").type = "multiply\nby"


def point_elsewhere(model: Any) -> None:
    stored = next(op for op in block_of(model).operations if op.attributes["val"].HasField("blobFileValue"))
    stored.attributes["val"].blobFileValue.offset = 100


def as_an_image(model: Any) -> None:
    image = model.description.input[0].type.imageType
    image.width, image.height, image.colorSpace = 5, 4, FeatureTypes_pb2.ImageFeatureType.RGB


MODELS: list[tuple[Callable[[Any], object], str]] = [
    (replace_type, r"expected an ML program, found neuralNetwork"),
    (remove_block, r"function main: expected one block, for CoreML7, found none"),
    (rename_opset, r"is written for CoreML99, known are CoreML5"),
    (use_too_early, r"conv 'blurred' uses 'out', not yet there"),
    (name_twice, r"two values are called 'x0'"),
    (free_a_dimension, r"operation mul 'out': a value has no fixed shape"),
    (miscount_a_constant, r"operation const .* is declared int32 \[\d\] and has \d values"),
    (retype_a_constant, r"operation const .* is declared fp32 \[\d\] and holds ints"),
    (leave_the_package, r"names the file '../../../weight.bin', which is not inside it"),
    (name_no_file, r"names the file 'weights/weight.x00bin', which is not inside it"),
    (point_elsewhere, r"weight.bin, record at byte 100: there is no record"),
    (lambda m: block_of(m).outputs.append("nothing"), r"no operation gives its outputs \['nothing'\]"),
    (lambda m: m.description.input.pop(), r"the inputs of its program are x0 fp32 .*, those it describes none"),
    (lambda m: m.description.input[0].type.stringType.SetInParent(), r"x0 is described as stringType, not as an array"),
    (lambda m: m.description.input[0].type.imageType.SetInParent(), r"x0 is described as an image of colour space 0"),
    (as_an_image, r"are x0 fp32 \[1, 2, 4, 5\], those it describes x0 uint8 \[1, 3, 4, 5\]"),
]


@pytest.mark.parametrize(("change", "message"), MODELS)
def test_programs_that_contradict_themselves(copy: Path, change: Callable[[Any], object], message: str) -> None:
    edit(copy, change)
    with pytest.raises(ProgramError, match=message) as caught:
        read_package(copy)
    assert "\n" not in str(caught.value)


def test_names_of_several_lines_are_told_in_one(copy: Path) -> None:
    edit(copy, use_an_operator_of_two_lines)
    with pytest.raises(ProgramError, match=r"does not cover: operator multiply by$"):
        Interpreter(copy)


def test_a_manifest_stays_inside(copy: Path) -> None:
    manifest = json.loads((copy / "Manifest.json").read_text())
    manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"] = "../../elsewhere.mlmodel"
    (copy / "Manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ProgramError, match=r"names the file '../../elsewhere.mlmodel', which is not inside it"):
        read_package(copy)
    with pytest.raises(FileNotFoundError, match="there is no package at"):
        read_package(copy / "nothing.mlpackage")


def test_any_changed_byte_is_read_or_refused_in_one_sentence(copy: Path) -> None:
    rng = np.random.default_rng(3)
    inputs = {"x0": np.ones((1, 2, 4, 5), np.float32)}
    for name in (MODEL, WEIGHTS):
        whole = (copy / name).read_bytes()
        refused = 0
        for place in rng.integers(0, len(whole) if name == MODEL else 64 + RECORD.size, 150):
            changed = bytearray(whole)
            changed[place] ^= int(rng.integers(1, 256))
            (copy / name).write_bytes(changed)
            try:
                Interpreter(copy)(**inputs)
            except ProgramError as error:
                assert "\n" not in str(error)
                refused += 1
        assert refused > 20
        (copy / name).write_bytes(whole)


def test_the_header_of_a_record_is_64_bytes() -> None:
    assert RECORD.size == 64
    assert ct.__version__.split(".")[0].isdigit()
