"""Bit arrays: rows of bits packed eight a byte, least significant bit first, padding bits zero."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..base import Array

#: ONNX text: `{target}_table` uint8 [256, 8]: the bits of every byte, least significant first.
BIT_TABLE = """
        {target}_from = Constant <value = int32 {{0}}> ()
        {target}_to = Constant <value = int32 {{256}}> ()
        {target}_by = Constant <value = int32 {{1}}> ()
        {target}_range = Range ({target}_from, {target}_to, {target}_by)
        {target}_last = Constant <value_ints = [1]> ()
        {target}_column = Unsqueeze ({target}_range, {target}_last)
        {target}_places = Constant <value = int32[8] {{1, 2, 4, 8, 16, 32, 64, 128}}> ()
        {target}_shifted = Div ({target}_column, {target}_places)
        {target}_two = Constant <value = int32 {{2}}> ()
        {target}_bit = Mod ({target}_shifted, {target}_two)
        {target}_table = Cast <to = 2> ({target}_bit)
"""

#: ONNX text: turns uint8 `{source}` [n, b] into uint8 `{target}` [n, 8 b] of zeros and ones. A look-up makes
#: one array of that size where shifting and masking would make three, and all of them stay until onnxruntime
#: has folded the whole graph.
UNPACK_BITS = (
    BIT_TABLE
    + """
        {target}_index = Cast <to = 6> ({source})
        {target}_cube = Gather <axis = 0> ({target}_table, {target}_index)
        {target}_shape = Constant <value_ints = [0, -1]> ()
        {target} = Reshape ({target}_cube, {target}_shape)
"""
)

#: ONNX text: turns bit planes, uint8 `{source}` [w, b], into int32 `{target}` [8 b]: the numbers they spell.
#: `{target}_escape` is the largest of them.
UNPACK_PLANES = (
    UNPACK_BITS.replace("{target}", "{target}_bits")
    + """
        {target}_dims = Shape ({source})
        {target}_one1 = Constant <value_ints = [1]> ()
        {target}_width = Slice ({target}_dims, zero1, {target}_one1)
        {target}_powers = Constant <value = uint8[8] {{1, 2, 4, 8, 16, 32, 64, 128}}> ()
        {target}_power = Slice ({target}_powers, zero1, {target}_width)
        {target} = MatMulInteger ({target}_power, {target}_bits)
        {target}_power_i = Cast <to = 6> ({target}_power)
        {target}_escape = ReduceSum <keepdims = 0> ({target}_power_i)
"""
)


def row_bytes(bits: int) -> int:
    """Bytes that hold that many bits."""
    return (bits + 7) // 8


def pack_rows(flags: Array) -> NDArray[np.uint8]:
    """Booleans [rows, n] as uint8 [rows, ceil(n / 8)]."""
    return np.packbits(flags, axis=-1, bitorder="little")


def unpack_rows(packed: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """The first `count` bits of every row as uint8 0 or 1, [rows, count]."""
    return np.unpackbits(packed, axis=-1, count=count, bitorder="little")


def padding_is_zero(packed: NDArray[np.uint8], count: int) -> bool:
    """Whether the bits past `count` in the last byte of every row are zero."""
    if packed.size == 0 or count % 8 == 0:
        return True
    return not bool((packed[..., -1] >> np.uint8(count % 8)).any())


def index_width(count: int) -> int:
    """Bits that number `count` things, at least 1."""
    return max(1, (count - 1).bit_length())


def pack_planes(indices: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """Indices [n] as `width` bit planes, uint8 [width, ceil(n / 8)]; plane b holds bit b."""
    planes = np.empty((width, row_bytes(indices.size)), np.uint8)
    for bit in range(width):
        planes[bit] = np.packbits((indices >> np.uint8(bit)) & np.uint8(1), bitorder="little")
    return planes


def unpack_planes(planes: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """The `count` indices that `pack_planes` took apart, uint8 [count]."""
    indices = np.zeros(count, np.uint8)
    for bit, plane in enumerate(planes):
        indices |= np.unpackbits(plane, count=count, bitorder="little") << np.uint8(bit)
    return indices
