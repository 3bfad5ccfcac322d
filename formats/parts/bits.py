"""Bit arrays: rows of bits packed eight a byte, least significant bit first, padding bits zero."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..base import Array

#: ONNX text: `bit_table` uint8 [256, 8]: the bits of every byte, least significant first. It stands once
#: before all that unpacks bits.
BIT_TABLE = """
        bit_from = Constant <value = int32 {0}> ()
        bit_to = Constant <value = int32 {256}> ()
        bit_by = Constant <value = int32 {1}> ()
        bit_range = Range (bit_from, bit_to, bit_by)
        bit_last = Constant <value_ints = [1]> ()
        bit_column = Unsqueeze (bit_range, bit_last)
        bit_places = Constant <value = int32[8] {1, 2, 4, 8, 16, 32, 64, 128}> ()
        bit_shifted = Div (bit_column, bit_places)
        bit_two = Constant <value = int32 {2}> ()
        bit_table_i = Mod (bit_shifted, bit_two)
        bit_table = Cast <to = 2> (bit_table_i)
        bit_rows = Constant <value_ints = [0, -1]> ()
        bit_powers = Constant <value = uint8[8] {1, 2, 4, 8, 16, 32, 64, 128}> ()
"""
#: ONNX text: turns uint8 `{source}` [n, b] into uint8 `{target}` [n, 8 b] of zeros and ones. A look-up makes
#: one array of that size where shifting and masking would make three, and all of them stay until onnxruntime
#: has folded the whole graph.
UNPACK_BITS = """
        {target}_index = Cast <to = 6> ({source})
        {target}_cube = Gather <axis = 0> (bit_table, {target}_index)
        {target} = Reshape ({target}_cube, bit_rows)
"""
#: ONNX text: turns bit planes, uint8 `{source}` [w, b], into int32 `{target}` [8 b]: the numbers they spell.
#: `{target}_escape` is the largest of them.
UNPACK_PLANES = (
    UNPACK_BITS.replace("{target}", "{target}_bits")
    + """
        {target}_dims = Shape ({source})
        {target}_width = Slice ({target}_dims, zero1, bit_last)
        {target}_power = Slice (bit_powers, zero1, {target}_width)
        {target} = MatMulInteger ({target}_power, {target}_bits)
        {target}_power_i = Cast <to = 6> ({target}_power)
        {target}_escape = ReduceSum <keepdims = 0> ({target}_power_i)
"""
)


def suffixes(parts: int) -> list[str]:
    """What the names of a decode's parts end in: nothing where it is in one."""
    return [f"_{part}" for part in range(parts)] if parts > 1 else [""]


def cut(source: str, planes: str, parts: int, unit: str) -> str:
    """ONNX text: `{source}_0`, ... of `{source}` [w, n], cut where `{planes}` [v, n / unit] is cut evenly."""
    if parts == 1:
        return ""
    text = f"""
        {source}_dims = Shape ({planes})
        {source}_axis = Constant <value_ints = [1]> ()
        {source}_behind = Constant <value_ints = [2]> ()
        {source}_columns = Slice ({source}_dims, {source}_axis, {source}_behind)
        {source}_parts = Constant <value_ints = [{parts}]> ()
        {source}_at_0 = Constant <value_ints = [0]> ()
"""
    for part in range(parts):
        text += f"""
        {source}_nth_{part} = Constant <value_ints = [{part + 1}]> ()
        {source}_times_{part} = Mul ({source}_columns, {source}_nth_{part})
        {source}_till_{part} = Div ({source}_times_{part}, {source}_parts)
        {source}_at_{part + 1} = Mul ({source}_till_{part}, {unit})
        {source}_{part} = Slice ({source}, {source}_at_{part}, {source}_at_{part + 1}, {source}_axis)
"""
    return text


def joined(name: str, parts: int) -> str:
    """ONNX text: `{name}` of its parts, one after the other."""
    if parts == 1:
        return ""
    return f"        {name} = Concat <axis = 0> ({', '.join(name + end for end in suffixes(parts))})\n"


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
