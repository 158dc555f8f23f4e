"""Constants that are stored compressed; they are decompressed once, when a program is loaded."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...reader.packed_bits import packed_size, unpack
from .declaration import like, named_by, operator

Array = Any


def _spread(values: Array, shape: tuple[int, ...]) -> Array:
    """One number per block, repeated over its block; sizes of blocks follow from the shapes."""
    if values.ndim != len(shape) or any(size % blocks for size, blocks in zip(shape, values.shape, strict=True)):
        raise ValueError(f"blocks of shape {values.shape} do not divide {shape}")
    for axis, size in enumerate(shape):
        values = np.repeat(values, size // values.shape[axis], axis)
    return values


def along(values: Array, rank: int, axis: int) -> Array:
    """One number, or one per index of `axis`, ready to broadcast."""
    return values if values.ndim == 0 else values.reshape([-1 if i == axis % rank else 1 for i in range(rank)])


@operator("constexpr_affine_dequantize", result=like("scale"), constant=True)
def affine_dequantize(quantized_data: Array, zero_point: Array, scale: Array, axis: Array) -> Array:
    """scale (data - zero point), with one of each or one per index of `axis`."""
    rank, place = quantized_data.ndim, int(axis)
    numbers = quantized_data.astype(np.float32) - along(zero_point, rank, place)
    return along(scale, rank, place) * numbers


@operator("constexpr_blockwise_shift_scale", result=like("scale"), constant=True)
def blockwise_shift_scale(data: Array, scale: Array, offset: Array | None = None) -> Array:
    """scale (data - offset), with one of each per block (iOS 18)."""
    numbers = data.astype(np.float32)
    if offset is not None:
        numbers = numbers - _spread(offset.astype(np.float32), data.shape)
    return _spread(scale, data.shape) * numbers


@operator("constexpr_cast", result=named_by("output_dtype"), only={"output_dtype": ("fp32",)}, constant=True)
def constexpr_cast(source_val: Array, output_dtype: str) -> Array:
    return source_val


@operator("constexpr_lut_to_dense", result=like("lut"), constant=True, moves=True)
def lut_to_dense(indices: Array, lut: Array, shape: Array | None = None, vector_axis: Array | None = None) -> Array:
    """Entries of a table by index.

    Before iOS 18 indices are packed bytes of a stated shape and there is one table (entries,).  Since then they have
    the shape of the result, and there is a table (entries, vector) for each block of them.
    """
    if shape is not None:
        sizes = tuple(int(size) for size in shape)
        bits, count = int(lut.size).bit_length() - 1, int(np.prod(sizes, dtype=np.int64))
        if lut.size != 1 << bits or indices.size != packed_size(count, bits):
            raise ValueError(f"{indices.size} bytes are not {count} indices of a table of {lut.size}")
        return lut[unpack(indices, bits, count)].reshape(sizes)
    if lut.ndim != indices.ndim + 2:
        raise ValueError(f"a table of shape {lut.shape} does not fit indices of shape {indices.shape}")
    blocks = [
        _spread(np.arange(count), (size,)).reshape([-1 if i == axis else 1 for i in range(indices.ndim)])
        for axis, (count, size) in enumerate(zip(lut.shape, indices.shape, strict=False))
    ]
    vectors = lut[(*blocks, indices.astype(np.int64))]
    if lut.shape[-1] == 1:
        return vectors[..., 0]
    if vector_axis is None:
        raise ValueError("a table of vectors needs the axis they lie along")
    axis = int(vector_axis) % indices.ndim
    merged = [size * (lut.shape[-1] if i == axis else 1) for i, size in enumerate(indices.shape)]
    return np.moveaxis(vectors, -1, axis + 1).reshape(merged)


@operator("constexpr_sparse_to_dense", result=like("nonzero_data"), constant=True, moves=True)
def sparse_to_dense(nonzero_data: Array, mask: Array, shape: Array | None = None) -> Array:
    """Numbers where the mask is set, zeros elsewhere; before iOS 18 the mask is packed bytes of a stated shape."""
    if shape is not None:
        sizes = tuple(int(size) for size in shape)
        count = int(np.prod(sizes, dtype=np.int64))
        if mask.size != packed_size(count, 1):
            raise ValueError(f"{mask.size} bytes are not a mask of {count} numbers")
        mask = unpack(mask, 1, count).reshape(sizes)
    chosen = mask.astype(bool)
    if int(chosen.sum()) != nonzero_data.size:
        raise ValueError(f"the mask marks {int(chosen.sum())} numbers, there are {nonzero_data.size}")
    result = np.zeros(chosen.shape, nonzero_data.dtype)
    result[chosen] = nonzero_data
    return result
