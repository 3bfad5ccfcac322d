"""Values taken apart into streams of which some compress and the others are left alone.

Of unsigned bit patterns the sign of a float is rotated to the lowest bit, so that numbers of the
same size are neighbours; the smallest is subtracted; the top 8 bits of what remains are the *head*,
which an entropy coder sees. Magnitude pruning removes all small numbers, so the head spends its 256
steps on the few octaves that are left and its skew covers exponents and first mantissa bits together.
The `low` bits below it are stored in byte planes, and the odd ones as bit planes.
"""

from __future__ import annotations

import numpy as np

from ...errors import CorruptFileError
from ...formats.base import Array
from ...formats.codebook import few_distinct, index_of
from .entropy import Bytes, order0_bits, squeeze
from .low_bits import pack_low, unpack_low
from .segment import Reader, Segment

#: Symbols from which a finer head always pays for its longer code table.
MANY_SYMBOLS = 1 << 14
TABLE_BITS = 5.0


def encode_values(patterns: Array, kind: str) -> Segment:
    """Bit patterns (unsigned vector) of a dtype of that kind ('f', 'i', 'u') as a segment.

    Parameters are [table size, low, base]: a table of the distinct patterns and indices into it if there
    are at most 256 (table size > 0), else head and low planes.
    """
    table = few_distinct(patterns)
    if table is not None and (patterns.dtype.itemsize > 1 or table.size <= 16):
        return _encode_table(patterns, table)
    turned = _turn(patterns, kind)
    base = int(turned.min(initial=np.iinfo(turned.dtype).max)) & (~1 if kind == "f" else ~0)
    turned -= turned.dtype.type(base)
    low = _best_low(turned)
    head = (turned >> turned.dtype.type(low)).astype(np.uint8)
    return Segment([0, low, base], [squeeze(head), *pack_low(turned, low)])


def decode_values(parameters: list[int], read: Reader, count: int, itemsize: int, kind: str) -> Array:
    """The `count` patterns of a segment, as unsigned integers of that width (a fresh array)."""
    dtype = np.dtype(f"u{itemsize}")
    size, low, base = parameters
    if not (0 <= size <= 256 and 0 <= low <= max(0, itemsize * 8 - 1) and 0 <= base < 1 << itemsize * 8):
        raise CorruptFileError(f"segment parameters {parameters} are out of range")
    if size:
        return _decode_table(size, read, count, dtype)
    turned = read(count).astype(dtype)
    turned <<= dtype.type(low)
    turned |= unpack_low(read, count, low, dtype)
    turned += dtype.type(base)
    return _turn_back(turned, kind)


def _turn(patterns: Array, kind: str) -> Array:
    """Patterns in an order in which numbers of similar magnitude are neighbours."""
    one, top = patterns.dtype.type(1), patterns.dtype.type(patterns.dtype.itemsize * 8 - 1)
    if kind == "f":
        rotated: Array = (patterns << one) | (patterns >> top)
        return rotated
    if kind == "i":
        zigzag: Array = (patterns << one) ^ (np.zeros((), patterns.dtype) - (patterns >> top))
        return zigzag
    return patterns.copy()


def _turn_back(turned: Array, kind: str) -> Array:
    one, top = turned.dtype.type(1), turned.dtype.type(turned.dtype.itemsize * 8 - 1)
    if kind == "f":
        signs = turned << top
        turned >>= one
        turned |= signs
        return turned
    if kind == "i":
        zigzag: Array = (turned >> one) ^ (np.zeros((), turned.dtype) - (turned & one))
        return zigzag
    return turned


def _best_low(turned: Array) -> int:
    """Bits to leave below the head: the fewest that make it a byte, or more where there are few symbols."""
    least = max(0, int(turned.max(initial=0)).bit_length() - 8)
    if turned.size >= MANY_SYMBOLS:  # enough symbols to pay for any code table
        return least
    shifted = turned >> turned.dtype.type(least)
    best, choice = float("inf"), least
    for extra in range(min(8, turned.dtype.itemsize * 8 - least)):
        symbols = (shifted >> turned.dtype.type(extra)).astype(np.uint8)
        used = int(np.count_nonzero(np.bincount(symbols, minlength=1)))
        cost = turned.size * (order0_bits(symbols) / max(1, symbols.size) + extra) + TABLE_BITS * used
        if cost < best:
            best, choice = cost, least + extra
    return choice


def _encode_table(patterns: Array, table: Array) -> Segment:
    indices = index_of(patterns, table)
    streams = [table.tobytes()]
    if table.size > 1:
        streams.append(squeeze(_join(indices, _table_width(table.size))))
    return Segment([int(table.size), 0, 0], streams)


def _decode_table(size: int, read: Reader, count: int, dtype: np.dtype[np.unsignedinteger]) -> Array:
    table = read(size * dtype.itemsize).view(dtype)
    if size == 1:
        return np.full(count, table[0], dtype)
    width = _table_width(size)
    indices = _split(read(-(-count * width // 8)), count, width)
    if int(indices.max(initial=0)) >= size:
        raise CorruptFileError(f"an index is outside the table of {size}")
    return table[indices]


def _table_width(size: int) -> int:
    """Bits of an index as it is stored. Several short ones share a byte: a code word has at least a bit."""
    return 1 if size <= 2 else 2 if size <= 4 else 4 if size <= 16 else 8


def _join(indices: Bytes, width: int) -> Bytes:
    """Indices of `width` bits, the first in the lowest bits of a byte."""
    share = 8 // width
    padded = np.zeros(-(-indices.size // share) * share, np.uint8)
    padded[: indices.size] = indices
    shifts = np.arange(0, 8, width, dtype=np.uint8)
    joined: Bytes = np.bitwise_or.reduce(padded.reshape(-1, share) << shifts, axis=1)
    return joined


def _split(joined: Bytes, count: int, width: int) -> Bytes:
    """What `_join` took."""
    shifts = np.arange(0, 8, width, dtype=np.uint8)
    return ((joined[:, None] >> shifts) & np.uint8((1 << width) - 1)).reshape(-1)[:count]
