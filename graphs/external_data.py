"""Which files an ONNX file refers to, read from its bytes alone.

A walker over the protobuf wire format that follows just the fields that can hold a tensor: so a bundle's references are
known before any runtime opens it, and without the onnx package.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .wire_format import delimited_fields

# Field numbers of onnx.proto: message -> fields that lead to a tensor.
_INTO = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}


def _walk(data: memoryview, message: str) -> Iterator[str]:
    for number, content in delimited_fields(data):
        inner = _INTO[message].get(number)
        if inner == "entry":
            entry = {key: bytes(value) for key, value in delimited_fields(content)}
            if entry.get(1) == b"location":
                yield entry.get(2, b"").decode("utf-8", "replace")
        elif inner:
            yield from _walk(content, inner)


def external_locations(path: Path) -> set[str]:
    """The external data locations an ONNX file names, as written in it.

    Raises:
        ValueError: the file is not a protobuf message.
    """
    try:
        return set(_walk(memoryview(path.read_bytes()), "model"))
    except IndexError as error:
        raise ValueError("the file ends in the middle of a field") from error
    except RecursionError as error:
        raise ValueError("its graphs are nested too deeply") from error
