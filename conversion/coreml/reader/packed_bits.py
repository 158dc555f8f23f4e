"""Numbers of less than a byte, packed without gaps: the first number in the lowest bits of the first byte."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def packed_size(count: int, bits: int) -> int:
    """Bytes that `count` numbers take."""
    return (count * bits + 7) // 8


def unpack(data: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint8]:
    """The first `count` numbers of `bits` bits each, 1 to 8; a number may lie across two bytes."""
    stream = np.unpackbits(data, count=count * bits, bitorder="little").reshape(count, bits)
    places = (1 << np.arange(bits)).astype(np.uint8)
    return np.asarray((stream * places).sum(1), np.uint8)


def signed(numbers: NDArray[np.uint8], bits: int) -> NDArray[Any]:
    """The same bit patterns as two's complement numbers of that width."""
    half = 1 << (bits - 1)
    return ((numbers.astype(np.int16) ^ half) - half).astype(np.int8)
