"""The protobuf wire format, as far as finding one message inside another takes.  Standard library only."""

from __future__ import annotations

from collections.abc import Iterator


def delimited_fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of the length-delimited fields of a message, in order.

    Raises:
        ValueError: it is not a message.
        IndexError: it ends in the middle of a field.
    """
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            _, at = _varint(data, at)
        elif kind == 2:
            length, at = _varint(data, at)
            if at + length <= len(data):
                yield tag >> 3, data[at : at + length]
            at += length
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError(f"unknown wire type {kind}")
        if at > len(data):
            raise ValueError("a field runs past the end of its message")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number has more than 64 bits")
