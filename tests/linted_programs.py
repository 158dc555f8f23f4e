"""Small Core ML programs for lint: a clean one, and for every rule one that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from coreml_programs import mb, saved_program
from google.protobuf.message import Message

from etam_onnx.conversion.coreml.package_writer import MODEL
from etam_onnx.conversion.coreml.reader.messages import parsed_model


def half(*shape: int) -> Any:
    return np.ones(shape, np.float16)


def whole(*shape: int) -> Any:
    return np.zeros(shape, np.int32)


X = half(1, 4, 8, 8)


@dataclass(frozen=True)
class Breach:
    """A program, what it takes, and what is changed in its protobuf once it is saved.

    also: names of other rules that cannot but be broken as well.
    """

    build: Callable[..., Any] = lambda x: mb.relu(x=x)
    arrays: tuple[Any, ...] = (X,)
    also: tuple[str, ...] = ()
    change: Callable[[Any], None] | None = None

    def saved(self, path: Path) -> Path:
        """The package."""
        saved_program(path, self.build, self.arrays)
        if self.change is not None:
            change_program(path, self.change)
        return path


def change_program(path: Path, change: Callable[[Any], None]) -> None:
    """Change the function `main` of a saved package in its protobuf."""
    model = parsed_model(path / MODEL, path.name)
    change(model.mlProgram.functions["main"])
    (path / MODEL).write_bytes(model.SerializeToString(deterministic=True))


def _open(function: Any) -> None:
    """The first size of the input is not known."""
    size = function.inputs[0].type.tensorType.dimensions[0]
    size.Clear()
    size.unknown.variadic = False


def _keep_state(function: Any) -> None:
    """The input is a state."""
    kept = type(function.inputs[0].type)()
    kept.CopyFrom(function.inputs[0].type)
    function.inputs[0].type.Clear()
    function.inputs[0].type.stateType.wrappedType.CopyFrom(kept)


def _as_ios17(function: Any) -> None:
    """A program for iOS 18 that says it is one for iOS 17."""
    block: Message = type(function.block_specializations[function.opset])()
    block.CopyFrom(function.block_specializations[function.opset])
    del function.block_specializations[function.opset]
    function.opset = "CoreML7"
    function.block_specializations["CoreML7"].CopyFrom(block)


def _inline_weights(function: Any) -> None:
    """The weights, 300 numbers, stand in the program."""
    for operation in function.block_specializations[function.opset].operations:
        value = operation.attributes["val"] if operation.type == "const" else None
        if value is not None and value.WhichOneof("value") == "blobFileValue":
            value.ClearField("blobFileValue")
            value.immediateValue.tensor.bytes.values = np.ones(600, np.float16).tobytes()


WEIGHT = np.ones((4, 4, 3, 3), np.float16)
INTEGERS = "no integers or booleans"
BREACHES = {
    "static shapes": Breach(change=_open),
    "no state": Breach(change=_keep_state),
    "rank at most 4": Breach(lambda x: mb.reshape(x=x, shape=(1, 2, 2, 8, 8))),
    "no dimension above 16384": Breach(arrays=(half(1, 16385),)),
    "no kernel wider than 13": Breach(
        lambda x: mb.conv(x=x, weight=np.ones((4, 4, 1, 15), np.float16), pad_type="custom", pad=[0, 0, 7, 7])
    ),
    "no operator that leaves": Breach(lambda x: mb.pad(x=x, pad=[1, 1, 1, 1])),
    "no operator of unknown place": Breach(lambda x: mb.floor(x=x)),
    "no sine or cosine": Breach(lambda x: mb.sin(x=x), arrays=(half(1, 4097),)),
    "half precision": Breach(arrays=(np.ones((1, 4), np.float32),)),
    INTEGERS: Breach(lambda x: mb.add(x=x, y=np.int32(1)), arrays=(whole(1, 4),)),
    "no casts": Breach(lambda x: mb.cast(x=x, dtype="fp32"), also=("half precision",)),
    "constant shapes, slices and splits": Breach(
        lambda x, begin: mb.slice_by_size(x=x, begin=begin, size=[1, 4, 4, 4]), (X, whole(4)), (INTEGERS,)
    ),
    "constant weights": Breach(
        lambda x, weight: mb.conv(x=x, weight=weight, pad_type="custom", pad=[1] * 4), (X, half(4, 4, 3, 3))
    ),
    "no hidden epsilon": Breach(lambda x: mb.rsqrt(x=x)),
    "known to the interpreter": Breach(lambda x: mb.pixel_shuffle(x=x, upscale_factor=2)),
    "the operators of its system": Breach(
        lambda x: mb.scaled_dot_product_attention(query=x, key=x, value=x), change=_as_ios17
    ),
    "weights in the weight file": Breach(
        lambda x: mb.add(x=x, y=np.ones((600, 1), np.float16)), arrays=(half(600, 1),), change=_inline_weights
    ),
}
"""By the name of the rule."""
