"""Bit arrays: rows of bits packed eight a byte, least significant bit first, padding bits zero."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..base import Array

#: ONNX text: turns uint8 `{source}` [n, b] into uint8 `{target}` [n, 8 b] of zeros and ones.
UNPACK_BITS = """
        {target}_last = Constant <value_ints = [2]> ()
        {target}_wide = Unsqueeze ({source}, {target}_last)
        {target}_weights = Constant <value = uint8[8] {{0, 1, 2, 3, 4, 5, 6, 7}}> ()
        {target}_shifted = BitShift <direction = "RIGHT"> ({target}_wide, {target}_weights)
        {target}_two = Constant <value = uint8 {{2}}> ()
        {target}_cube = Mod ({target}_shifted, {target}_two)
        {target}_shape = Constant <value_ints = [0, -1]> ()
        {target} = Reshape ({target}_cube, {target}_shape)
"""

#: ONNX text: turns bit planes, uint8 `{source}` [w, b], into float `{target}` [8 b]: the numbers they spell.
#: `{target}_power` [w] is what a bit of each plane is worth; `{target}_one` is 1. Exact up to 24 planes.
UNPACK_PLANES = (
    UNPACK_BITS.replace("{target}", "{target}_bits")
    + """
        {target}_planes = Shape ({source})
        {target}_first = Constant <value_ints = [1]> ()
        {target}_count = Slice ({target}_planes, zero1, {target}_first)
        {target}_width = Squeeze ({target}_count)
        {target}_zero = Constant <value = int64 {{0}}> ()
        {target}_one = Constant <value = int64 {{1}}> ()
        {target}_number = Range ({target}_zero, {target}_width, {target}_one)
        {target}_exponent = Cast <to = 1> ({target}_number)
        {target}_base = Constant <value = float {{2.0}}> ()
        {target}_power = Pow ({target}_base, {target}_exponent)
        {target}_bits_f = Cast <to = 1> ({target}_bits)
        {target} = MatMul ({target}_power, {target}_bits_f)
"""
)

#: ONNX text: `{target}` int64 holds those of int64 `{items}` [n] whose bool `{flags}` [n] is set, in order.
#: onnxruntime folds neither Compress nor NonZero (a decode with them would run every time), but it folds
#: this: what is kept is scattered to its rank, everything else to slot 0.
COMPACT = """
        {target}_long = Cast <to = 7> ({flags})
        {target}_rank = CumSum ({target}_long, axis0)
        {target}_nowhere = Sub ({target}_rank, {target}_rank)
        {target}_slot = Where ({flags}, {target}_rank, {target}_nowhere)
        {target}_length = Shape ({flags})
        {target}_first = Constant <value_ints = [1]> ()
        {target}_slots = Add ({target}_length, {target}_first)
        {target}_blank = ConstantOfShape <value = int64[1] {{0}}> ({target}_slots)
        {target}_placed = ScatterElements ({target}_blank, {target}_slot, {items})
        {target}_count = ReduceSum <keepdims = 1> ({target}_long)
        {target}_end = Add ({target}_count, {target}_first)
        {target} = Slice ({target}_placed, {target}_first, {target}_end)
"""

#: ONNX text: `dense` float [size], zero but for float `{values}` [n] at int64 `position` [n].
PLACE = """
        empty = ConstantOfShape <value = float[1] {{0.0}}> (size)
        dense = ScatterElements (empty, position, {values})
"""


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
