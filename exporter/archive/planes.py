"""Values and positions taken apart into streams of which some compress and the others are left alone.

Values (unsigned bit patterns): the sign of a float is rotated to the lowest bit, so that numbers of the
same size are neighbours; the smallest is subtracted; the top 8 bits of what remains are the *head*,
which an entropy coder sees. Magnitude pruning removes all small numbers, so the head spends its 256
steps on the few octaves that are left and its skew covers exponents and first mantissa bits together.
The `low` bits below it are stored in byte planes, and the odd ones as bit planes.

Positions: the gap before each non-zero, `low` bits apart if gaps are long, then one byte; 255 says
"255 more steps, no entry". Where more than a quarter is kept, one bit an element instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import CorruptFileError
from ...formats.base import Array
from ...formats.codebook import few_distinct, index_of
from ...formats.parts.bits import padding_is_zero, row_bytes
from .entropy import Bytes, order0_bits, squeeze

ESCAPE = 255
MASK = -1
#: Symbols from which a finer head always pays for its longer code table.
MANY_SYMBOLS = 1 << 14
TABLE_BITS = 5.0

#: Reads the next stream, given its size before coding.
Reader = Callable[[int], Bytes]


@dataclass(frozen=True)
class Segment:
    """Streams that are coded together, and the integers needed to read them back."""

    parameters: list[int]
    streams: list[bytes]

    @property
    def nbytes(self) -> int:
        return sum(map(len, self.streams))


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
    return Segment([0, low, base], [squeeze(head), *_pack_low(turned, low)])


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
    turned |= _unpack_low(read, count, low, dtype)
    turned += dtype.type(base)
    return _turn_back(turned, kind)


def encode_gaps(positions: list[NDArray[np.int64]]) -> tuple[Segment, list[int]]:
    """Ascending positions of several pieces as one segment of gaps, and the number of escapes in each."""
    gaps = [np.diff(part, prepend=-1) - 1 for part in positions]
    total = sum(part.size for part in gaps)
    mean = sum(int(part.sum()) for part in gaps) / max(1, total)
    low = max(0, int(mean + 1).bit_length() - 5)
    symbols, lows, escapes = [], [], []
    for part in gaps:
        steps, extra = (
            np.divmod(part >> low, ESCAPE)
            if int(part.max(initial=0)) >> low >= ESCAPE
            else (None, part >> low)
        )
        escapes.append(0 if steps is None else int(steps.sum()))
        coded = extra.astype(np.uint8)
        if steps is not None:
            coded = np.full(part.size + escapes[-1], ESCAPE, np.uint8)
            coded[np.arange(part.size) + np.cumsum(steps)] = extra
        symbols.append(coded)
        lows.append((part & ((1 << low) - 1)).astype(np.uint32))
    streams = [squeeze(np.concatenate(symbols))]
    if low:
        streams += _pack_low(np.concatenate(lows), low)
    return Segment([low], streams), escapes


def encode_mask(positions: list[NDArray[np.int64]], sizes: list[int]) -> Segment:
    """Positions as one bit an element: below gaps where more than a quarter of the elements is kept."""
    masks = []
    for part, size in zip(positions, sizes, strict=True):
        flags = np.zeros(size, np.bool_)
        flags[part] = True
        masks.append(np.packbits(flags, bitorder="little"))
    return Segment([MASK], [squeeze(np.concatenate(masks))])


def decode_positions(
    parameters: list[int], read: Reader, counts: list[int], escapes: list[int], sizes: list[int]
) -> list[NDArray[np.int64]]:
    """Ascending positions of the non-zeros of each piece, all below the piece's size."""
    (low,) = parameters
    if not (low == MASK or 0 <= low <= 24):
        raise CorruptFileError(f"positions with {low} low bits")
    if any(c + e > s for c, e, s in zip(counts, escapes, sizes, strict=True)):
        raise CorruptFileError("more positions than elements")
    if low == MASK:
        return _decode_mask(read, counts, sizes)
    symbols = read(sum(counts) + sum(escapes))
    lows = _unpack_low(read, sum(counts), low, np.dtype(np.uint32)) if low else None
    result, at, entry = [], 0, 0
    for count, extra, size in zip(counts, escapes, sizes, strict=True):
        part = symbols[at : at + count + extra]
        part_lows = None if lows is None else lows[entry : entry + count]
        result.append(_walk(part, part_lows, low, extra, size))
        at, entry = at + count + extra, entry + count
    return result


def _decode_mask(read: Reader, counts: list[int], sizes: list[int]) -> list[NDArray[np.int64]]:
    """Positions of the bits set in each piece's mask."""
    masks = read(sum(map(row_bytes, sizes)))
    result, at = [], 0
    for count, size in zip(counts, sizes, strict=True):
        part = masks[at : at + row_bytes(size)]
        at += row_bytes(size)
        position = np.flatnonzero(np.unpackbits(part, count=size, bitorder="little").view(np.bool_))
        if position.size != count or not padding_is_zero(part, size):
            raise CorruptFileError("a mask does not hold the number of bits stated")
        result.append(position)
    return result


def _walk(part: Bytes, lows: Array | None, low: int, escapes: int, size: int) -> NDArray[np.int64]:
    """Positions that a piece's symbols walk to."""
    steps = part.astype(np.int64)
    if low:
        steps <<= low
    if escapes:
        entries = part != ESCAPE
        if int(np.count_nonzero(entries)) != part.size - escapes:
            raise CorruptFileError("positions hold another number of escapes than stated")
        steps[entries] += 1 if lows is None else lows + np.int64(1)
        position: NDArray[np.int64] = np.cumsum(steps)[entries]
    else:
        steps += 1 if lows is None else lows + np.int64(1)
        position = np.cumsum(steps, out=steps)
    position -= 1
    if position.size and int(position[-1]) >= size:
        raise CorruptFileError(f"a position is outside the {size} elements there are")
    return position


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


def _pack_low(turned: Array, low: int) -> list[bytes]:
    """The `low` lowest bits: whole bytes as planes, lowest first, then single bits packed eight a byte."""
    streams = []
    octets = turned.view(np.uint8).reshape(turned.size, turned.dtype.itemsize)
    for plane in range(low // 8):
        streams.append(squeeze(octets[:, plane]))
    if low % 8:
        odd = octets[:, low // 8]
        planes = [
            np.packbits((odd >> np.uint8(bit)) & np.uint8(1), bitorder="little") for bit in range(low % 8)
        ]
        streams.append(squeeze(np.concatenate(planes)))
    return streams


def _unpack_low(read: Reader, count: int, low: int, dtype: np.dtype[np.unsignedinteger]) -> Array:
    """What `_pack_low` took."""
    octets = np.zeros((count, dtype.itemsize), np.uint8)
    for plane in range(low // 8):
        octets[:, plane] = read(count)
    if low % 8:
        length = row_bytes(count)
        planes = read(length * (low % 8)).reshape(low % 8, length)
        odd = np.unpackbits(planes[0], count=count, bitorder="little")
        for bit in range(1, low % 8):
            more = np.unpackbits(planes[bit], count=count, bitorder="little")
            more <<= np.uint8(bit)
            odd |= more
        octets[:, low // 8] = odd
    return octets.view(dtype).reshape(count)


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
