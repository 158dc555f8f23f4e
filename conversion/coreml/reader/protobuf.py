"""From the protobuf messages of a saved model to `program`; the only file that knows their field names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .packed_bits import packed_size
from .program import STORAGE, Feature, Function, Literal, Operation, ProgramError, TensorType, Variable, bits_of
from .weight_file import WeightFile, numbers_of

WeightFiles = Callable[[str], WeightFile]
"""From a file name as programs write it to the file."""
_DATA_TYPES = {
    1: "bool",
    2: "string",
    10: "fp16",
    11: "fp32",
    21: "int8",
    22: "int16",
    23: "int32",
    25: "int4",
    31: "uint8",
    32: "uint16",
    33: "uint32",
    35: "uint4",
    36: "uint2",
    37: "uint1",
    38: "uint6",
    39: "uint3",
}
_WIDE = {"fp32": "floats", "int32": "ints", "bool": "bools", "string": "strings"}
_INTS_OR_BYTES = ("int16", "uint16", "uint32")
_COLOURS = {10: ("grey", 1), 20: ("RGB", 3), 30: ("BGR", 3)}
_ARRAY_TYPES = {65568: "fp32", 131104: "int32", 131080: "int8", 65552: "fp16"}


def tensor_type(message: Any) -> TensorType:
    """A MIL `ValueType` that is a tensor of known shape.

    Raises:
        ProgramError: it is something else.
    """
    if message.WhichOneof("type") == "listType":  # a list of texts is taken as one tensor of them
        inner = tensor_type(message.listType.type)
        return TensorType(inner.dtype, (message.listType.length.constant.size, *inner.shape))
    if message.WhichOneof("type") != "tensorType":
        raise ProgramError(f"a value is a {message.WhichOneof('type')}, only tensors are read")
    tensor = message.tensorType
    dtype = _DATA_TYPES.get(tensor.dataType)
    if dtype is None:
        raise ProgramError(f"a value has the element type number {tensor.dataType}, which is not read")
    if any(dimension.WhichOneof("dimension") != "constant" for dimension in tensor.dimensions):
        raise ProgramError("a value has no fixed shape, only programs of fixed shapes are read")
    shape = tuple(int(dimension.constant.size) for dimension in tensor.dimensions)
    if tensor.rank != len(shape):
        raise ProgramError(f"a value declares rank {tensor.rank} and the shape {list(shape)}")
    return TensorType(dtype, shape)


def literal(message: Any, files: WeightFiles) -> Literal:
    """A MIL `Value`, from the message itself or from a weight file.

    Raises:
        ProgramError: unreadable, or its numbers are not those of its type.
    """
    declared = tensor_type(message.type)
    kind = message.WhichOneof("value")
    if kind == "blobFileValue":
        return files(message.blobFileValue.fileName).literal(int(message.blobFileValue.offset), declared)
    if kind != "immediateValue":
        raise ProgramError("a constant has no value")
    if message.immediateValue.WhichOneof("value") == "list":
        items = [literal(item, files) for item in message.immediateValue.list.values]
        values = np.array([item.array for item in items], STORAGE[declared.dtype])
    else:
        values = _immediate(message.immediateValue.tensor, declared)
    if values.size != declared.count:
        raise ProgramError(f"a constant is declared {declared} and has {values.size} values")
    return Literal(declared, values.reshape(declared.shape))


def _immediate(tensor: Any, declared: TensorType) -> np.ndarray:
    field = tensor.WhichOneof("value")
    if field is None and declared.count == 0:
        return np.zeros(0, STORAGE[declared.dtype])
    if declared.dtype in _WIDE or (declared.dtype in _INTS_OR_BYTES and field == "ints"):
        wanted = _WIDE.get(declared.dtype, "ints")
        if field != wanted:
            raise ProgramError(f"a constant is declared {declared} and holds {field}")
        return np.array(getattr(tensor, wanted).values, STORAGE[declared.dtype])
    if field != "bytes":
        raise ProgramError(f"a constant is declared {declared} and holds {field}")
    data = tensor.bytes.values
    if len(data) != packed_size(declared.count, bits_of(declared.dtype)):
        raise ProgramError(f"a constant is declared {declared} and has {len(data)} bytes")
    return numbers_of(data, declared)


def operation(message: Any, files: WeightFiles) -> Operation:
    """One MIL `Operation`.

    Raises:
        ProgramError: an argument or a type is unreadable; names the operation.
    """
    outputs: tuple[Variable, ...] = ()
    name = message.outputs[0].name if message.outputs else message.type
    try:
        outputs = tuple(Variable(out.name, tensor_type(out.type)) for out in message.outputs)
        arguments: dict[str, tuple[str | Literal, ...]] = {
            key: (literal(value, files),) for key, value in message.attributes.items() if key != "name"
        }
        for key, argument in message.inputs.items():
            arguments[key] = tuple(
                literal(binding.value, files) if binding.WhichOneof("binding") == "value" else binding.name
                for binding in argument.arguments
            )
    except ProgramError as error:
        raise ProgramError(f"operation {message.type} {name!r}: {error}") from error
    return Operation(message.type, name, arguments, outputs, nested=bool(message.blocks))


def function(name: str, message: Any, files: WeightFiles) -> Function:
    """One MIL `Function`.

    Raises:
        ProgramError: it has not exactly one block for its operator set, or something in it is unreadable.
    """
    try:
        inputs = tuple(Variable(value.name, tensor_type(value.type)) for value in message.inputs)
        if list(message.block_specializations) != [message.opset]:
            found = ", ".join(message.block_specializations) or "none"
            raise ProgramError(f"expected one block, for {message.opset or 'some operator set'}, found {found}")
        block = message.block_specializations[message.opset]
        operations = tuple(operation(item, files) for item in block.operations)
    except ProgramError as error:
        raise ProgramError(f"function {name}: {error}") from error
    return Function(name, message.opset, inputs, operations, tuple(block.outputs))


def feature(message: Any) -> Feature:
    """One `FeatureDescription`: of a multi-dimensional array, or of an image, which a program sees as an array.

    Raises:
        ProgramError: it describes something else.
    """
    kind, name, doc = message.type.WhichOneof("Type"), message.name, message.shortDescription
    if kind == "imageType":
        image = message.type.imageType
        if image.colorSpace not in _COLOURS:
            raise ProgramError(f"{name} is described as an image of colour space {image.colorSpace}, which is not read")
        colour, channels = _COLOURS[image.colorSpace]
        return Feature(name, TensorType("uint8", (1, channels, int(image.height), int(image.width))), doc, colour)
    if kind != "multiArrayType":
        raise ProgramError(f"{name} is described as {kind}, not as an array or an image")
    array = message.type.multiArrayType
    dtype = _ARRAY_TYPES.get(array.dataType)
    if dtype is None:
        raise ProgramError(f"{name} is described with the array type {array.dataType}, which is not read")
    return Feature(name, TensorType(dtype, tuple(int(size) for size in array.shape)), doc)
