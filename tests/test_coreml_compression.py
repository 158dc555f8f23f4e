"""Compressed constants: decompressed by the interpreter, by hand, and by coremltools' own rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("coreml_programs", reason="coremltools is not installed")

from coreml_programs import mb, saved_program
from coremltools.converters.mil.mil import types

from etam_onnx.conversion.coreml.interpreter import OPERATORS, Interpreter, ProgramError, read_package

rng = np.random.default_rng(0)


def numbers(name: str, *shape: int) -> Any:
    """Any numbers of a type of less than a byte, as coremltools takes them."""
    bits = int(name[-1])
    low, high = (-(1 << bits - 1), 1 << bits - 1) if name.startswith("int") else (0, 1 << bits)
    return rng.integers(low, high, shape).astype(types.type_mapping.string_to_nptype(name))


def halves(*shape: int) -> Any:
    return rng.standard_normal(shape).astype(np.float16)


def packed(values: Any, bits: int) -> Any:
    """As one long binary number, the first value in its lowest bits."""
    stream = sum(int(value) << (bits * i) for i, value in enumerate(values.reshape(-1)))
    return np.frombuffer(stream.to_bytes((values.size * bits + 7) // 8, "little"), np.uint8)


@dataclass(frozen=True)
class Compressed:
    """A constant: how it is written (operator, operands), and what it is by hand."""

    name: str
    kind: str
    operands: dict[str, Any]
    expected: Any
    target: str

    def __str__(self) -> str:
        return self.name


def affine(axis: int) -> Compressed:
    data, scale = rng.integers(-128, 128, (4, 6)).astype(np.int8), np.abs(halves(6 if axis in (1, -1) else 4))
    zero = rng.integers(-9, 9, scale.shape).astype(np.int8)
    wide = (slice(None), None) if axis == 0 else (None, slice(None))
    expected = scale[wide].astype(float) * (data.astype(float) - zero[wide])
    operands = {"quantized_data": data, "zero_point": zero, "scale": scale, "axis": np.int32(axis)}
    return Compressed(f"affine axis {axis}", "constexpr_affine_dequantize", operands, expected, "iOS17")


def blockwise(name: str, blocks: tuple[int, int], offset: bool) -> Compressed:
    data = rng.integers(-128, 128, (4, 6)).astype(np.int8) if name == "int8" else numbers(name, 4, 6)
    scale = np.abs(halves(*blocks))
    operands = {"data": data, "scale": scale}
    tile = np.ones((4 // blocks[0], 6 // blocks[1]))
    shift: Any = 0
    if offset:
        operands["offset"] = numbers(name, *blocks)
        shift = np.kron(np.asarray(operands["offset"], float), tile)
    expected = np.kron(scale.astype(float), tile) * (np.asarray(data, float) - shift)
    return Compressed(f"{name} in {blocks} blocks", "constexpr_blockwise_shift_scale", operands, expected, "iOS18")


def palette(bits: int) -> Compressed:
    """One table, indices of a few bits packed."""
    indices, table = rng.integers(0, 1 << bits, (3, 5, 7)), halves(1 << bits)
    operands = {"indices": packed(indices, bits), "lut": table, "shape": np.uint32([3, 5, 7])}
    return Compressed(f"{bits}-bit palette", "constexpr_lut_to_dense", operands, table[indices], "iOS17")


def palettes(bits: int) -> Compressed:
    """A table for every second row."""
    indices, tables = numbers(f"uint{bits}", 4, 6), halves(2, 1, 1 << bits, 1)
    expected = np.stack([tables[row // 2, 0, np.asarray(indices[row], int), 0] for row in range(4)])
    operands = {"indices": indices, "lut": tables}
    return Compressed(f"{bits}-bit palettes", "constexpr_lut_to_dense", operands, expected, "iOS18")


def vectors(axis: int) -> Compressed:
    """A table of pairs, laid along an axis."""
    indices, table = numbers("uint2", 4, 6), halves(1, 1, 4, 2)
    pairs = table[0, 0, np.asarray(indices, int)]  # (4, 6, 2)
    expected = pairs.reshape(4, 12) if axis == 1 else pairs.transpose(0, 2, 1).reshape(8, 6)
    operands = {"indices": indices, "lut": table, "vector_axis": np.int32(axis)}
    return Compressed(f"vectors along {axis}", "constexpr_lut_to_dense", operands, expected, "iOS18")


def sparse(target: str) -> Compressed:
    mask = rng.integers(0, 2, (3, 7)).astype(types.type_mapping.string_to_nptype("uint1"))
    chosen = np.asarray(mask, bool)
    expected = halves(3, 7) * chosen
    operands = {"nonzero_data": expected[chosen], "mask": mask}
    if target == "iOS17":
        operands = {**operands, "mask": packed(mask, 1), "shape": np.uint32([3, 7])}
    return Compressed(f"sparse {target}", "constexpr_sparse_to_dense", operands, expected, target)


HALVES = halves(3, 5)
CONSTANTS = [
    *(affine(axis) for axis in (0, 1, -1)),
    *(blockwise("int8", blocks, False) for blocks in ((1, 1), (4, 1), (2, 3), (4, 6))),
    *(blockwise(name, blocks, True) for name in ("int4", "uint4") for blocks in ((4, 3), (2, 2))),
    *(palette(bits) for bits in (1, 2, 4, 6, 8)),
    *(palettes(bits) for bits in (1, 2, 3, 4, 6)),
    *(vectors(axis) for axis in (0, 1)),
    *(sparse(target) for target in ("iOS17", "iOS18")),
    Compressed("cast", "constexpr_cast", {"source_val": HALVES, "output_dtype": "fp32"}, HALVES, "iOS17"),
]


def build(constant: Compressed, seen: list[Any]) -> Callable[..., Any]:
    """A program whose result is the constant: plus zero times its input."""

    def program(x: Any) -> Any:
        value = getattr(mb, constant.kind)(**constant.operands)
        seen.append(value.op.materialized_val_inference())
        return mb.mul(x=value if value.dtype == types.fp32 else mb.cast(x=value, dtype="fp32"), y=x)

    return program


@pytest.mark.parametrize("constant", CONSTANTS, ids=str)
def test_constant(constant: Compressed, tmp_path: Path) -> None:
    seen: list[Any] = []
    one = np.ones((1, 1), np.float32)
    path = saved_program(tmp_path / "program.mlpackage", build(constant, seen), [one], constant.target)
    package = read_package(path)
    assert package.function().histogram()[constant.kind] == 1
    (found,) = Interpreter(package)(x0=one).values()
    expected = np.asarray(constant.expected, np.float64)
    found = found.reshape(expected.shape)
    np.testing.assert_array_equal(
        found,
        expected.astype(np.float32).astype(found.dtype) if constant.kind in EXACT else expected.astype(np.float16),
    )
    np.testing.assert_allclose(found, np.asarray(seen[-1], np.float32), rtol=2e-3 if constant.kind not in EXACT else 0)
    if constant.kind not in EXACT:
        (single,) = Interpreter(package, rounding=None)(x0=one).values()
        np.testing.assert_allclose(single.reshape(expected.shape), expected, rtol=2e-7)


EXACT = ("constexpr_lut_to_dense", "constexpr_sparse_to_dense", "constexpr_cast")
"""Constants that are looked up, not computed; coremltools rounds twice where others are computed in half precision."""


def test_every_compression_has_a_case() -> None:
    assert {constant.kind for constant in CONSTANTS} == {k for k, operator in OPERATORS.items() if operator.constant}


def test_masks_and_tables_that_do_not_fit() -> None:
    """The sizes of what is stored are checked, although coremltools never writes such a thing."""
    lut = OPERATORS["constexpr_lut_to_dense"].compute
    fill = OPERATORS["constexpr_sparse_to_dense"].compute
    scale = OPERATORS["constexpr_blockwise_shift_scale"].compute
    with pytest.raises(ValueError, match="3 bytes are not 6 indices of a table of 4"):
        lut(np.zeros(3, np.uint8), np.zeros(4, np.float32), np.uint32([2, 3]))
    with pytest.raises(ValueError, match=r"a table of shape .* does not fit indices of shape"):
        lut(np.zeros((2, 3), np.uint8), np.zeros((4, 1), np.float32))
    with pytest.raises(ValueError, match="a table of vectors needs the axis"):
        lut(np.zeros((2, 3), np.uint8), np.zeros((1, 1, 4, 2), np.float32))
    with pytest.raises(ValueError, match="the mask marks 6 numbers, there are 5"):
        fill(np.zeros(5, np.float32), np.ones((2, 3), np.uint8))
    with pytest.raises(ValueError, match=r"blocks of shape .* do not divide"):
        scale(np.zeros((4, 6), np.int8), np.zeros((3, 1), np.float32))


def test_a_constant_that_is_computed_is_refused(tmp_path: Path) -> None:
    constant, one = affine(0), np.ones((4, 6), np.float32)
    path = saved_program(tmp_path / "program.mlpackage", build(constant, []), [one], constant.target)
    package = read_package(path)
    function = package.function()
    operations = tuple(
        replace(op, arguments={**op.arguments, "zero_point": ("x0",)}) if op.kind == constant.kind else op
        for op in function.operations
    )
    changed = replace(package, functions={"main": replace(function, operations=operations)})
    with pytest.raises(ProgramError, match=r"constexpr_affine_dequantize .* needs constants, 'x0' is computed"):
        Interpreter(changed)
