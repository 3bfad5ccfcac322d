"""Positions of non-zeros as streams.

The gap before each non-zero, `low` bits apart if gaps are long, then one byte; 255 says "255 more steps, no
entry". Where more than a quarter is kept, one bit an element instead.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...errors import CorruptFileError
from ...formats.base import Array
from ...formats.parts.bits import padding_is_zero, row_bytes
from .entropy import Bytes, squeeze
from .low_bits import pack_low, unpack_low
from .segment import Reader, Segment

ESCAPE = 255

MASK = -1


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
        streams += pack_low(np.concatenate(lows), low)
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
    lows = unpack_low(read, sum(counts), low, np.dtype(np.uint32)) if low else None
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
