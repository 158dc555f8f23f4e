"""The weight file of a package (weight.bin): records of 64 bytes that say where numbers lie and of which type they are.

    offset 0    count of records, version, 56 bytes of zeros
    a record    mark, type, bytes of numbers, their offset, unused bits at their end, 32 bytes of zeros

Offsets in the program point to records; everything is little-endian and lies on multiples of 64.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from .packed_bits import packed_size, signed, unpack
from .program import STORAGE, Literal, ProgramError, TensorType, bits_of

HEADER = struct.Struct("<II56x")
RECORD = struct.Struct("<IIQQQ32x")
MARK = 0xDEADBEEF
VERSION = 2
TYPES = {
    1: "fp16",
    2: "fp32",
    3: "uint8",
    4: "int8",
    6: "int16",
    7: "uint16",
    8: "int4",
    9: "uint1",
    10: "uint2",
    11: "uint4",
    12: "uint3",
    13: "uint6",
    14: "int32",
    15: "uint32",
}


class WeightFile:
    """A weight file, read once; literals that were read already are handed out again.

    Raises:
        ProgramError: it is missing or not a weight file.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.name
        try:
            self.data = path.read_bytes()
        except OSError as error:
            raise ProgramError(f"{path}: the weight file cannot be read ({error.strerror})") from error
        if len(self.data) < HEADER.size:
            raise ProgramError(f"{path}: a weight file has at least {HEADER.size} bytes, this has {len(self.data)}")
        _, version = HEADER.unpack_from(self.data)
        if version != VERSION:
            raise ProgramError(f"{path}: expected a weight file of version {VERSION}, found {version}")
        self._read: dict[tuple[int, TensorType], Literal] = {}

    def literal(self, offset: int, declared: TensorType) -> Literal:
        """The numbers of the record at `offset`, which the program declares to be of this type.

        Raises:
            ProgramError: no record is there, or it is of another type or size, or its numbers lie outside the file.
        """
        key = (offset, declared)
        if key not in self._read:
            self._read[key] = Literal(declared, self._numbers(offset, declared))
        return self._read[key]

    def _numbers(self, offset: int, declared: TensorType) -> np.ndarray:
        where = f"{self.name}, record at byte {offset}"
        if offset + RECORD.size > len(self.data):
            raise ProgramError(f"{where}: the file has only {len(self.data)} bytes")
        mark, code, size, start, unused = RECORD.unpack_from(self.data, offset)
        if mark != MARK:
            raise ProgramError(f"{where}: there is no record")
        found = TYPES.get(code, f"type {code}")
        if found != declared.dtype:
            raise ProgramError(f"{where}: the program declares {declared}, the record holds {found}")
        bits = bits_of(found)
        wanted = packed_size(declared.count, bits)
        if size != wanted or (bits < 8 and unused not in (0, 8 * wanted - declared.count * bits)):
            raise ProgramError(f"{where}: {declared} takes {wanted} bytes, the record has {size}")
        if start + size > len(self.data):
            raise ProgramError(f"{where}: its numbers end at byte {start + size}, the file at {len(self.data)}")
        return numbers_of(self.data[start : start + size], declared)


def numbers_of(data: bytes, declared: TensorType) -> np.ndarray:
    """Stored bytes as an array of `declared`, packed numbers unpacked.  The bytes are as many as it takes."""
    bits = bits_of(declared.dtype)
    if bits < 8:
        numbers = unpack(np.frombuffer(data, np.uint8), bits, declared.count)
        return (signed(numbers, bits) if declared.dtype.startswith("int") else numbers).reshape(declared.shape)
    return np.frombuffer(data, np.dtype(STORAGE[declared.dtype]).newbyteorder("<")).reshape(declared.shape)
