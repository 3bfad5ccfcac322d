"""One chunk of an archive read back: every stream, position and checksum of it proved."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import CorruptFileError
from ...formats.base import Array
from ...formats.parts.bits import padding_is_zero, row_bytes
from . import planes, positions
from .chunk import kind_of
from .entropy import Bytes, expand
from .index import POSITIONS, SIGNS


@dataclass(frozen=True)
class Row:
    """A piece as the index states it."""

    size: int
    entries: int
    escapes: int
    values: int
    positions: int
    signs: int
    crc: int
    dtype: np.dtype[Any]


class Streams:
    """The stored streams of a segment, read one after the other."""

    def __init__(self, data: memoryview, lengths: list[int], where: str) -> None:
        self.data, self.lengths, self.where = data, lengths, where
        self.next, self.offset = 0, 0

    def __call__(self, size: int) -> Bytes:
        if self.next >= len(self.lengths):
            raise CorruptFileError(f"{self.where}: a segment has too few streams")
        length = self.lengths[self.next]
        stored = self.data[self.offset : self.offset + length]
        self.next, self.offset = self.next + 1, self.offset + length
        return expand(stored, size, self.where)

    def finish(self) -> None:
        if self.next != len(self.lengths):
            raise CorruptFileError(f"{self.where}: a segment has too many streams")


def decode(
    data: memoryview,
    rows: list[Row],
    kinds: list[int],
    parameters: list[list[int]],
    lengths: list[list[int]],
    where: str,
    targets: list[Array | None],
) -> list[Array]:
    """Bit patterns of every piece of a chunk, their checksums verified.

    Parameters
    ----------
    targets
        For every piece the array of zeros to put it in, or None for one of its own.

    Raises
    ------
    CorruptFileError
        If a stream, a position or a checksum is not what the index says.
    """
    decoded: list[Any] = []
    offset = 0
    for number, kind in enumerate(kinds):
        streams = Streams(data[offset : offset + sum(lengths[number])], lengths[number], where)
        offset += sum(lengths[number])
        members = [row for row in rows if (row.values, row.positions, row.signs)[kind] == number]
        decoded.append(iter(_segment(kind, members, parameters[number], streams, where)))
        streams.finish()
    if offset != len(data):
        raise CorruptFileError(f"{where}: streams of {offset} bytes in a chunk of {len(data)}")
    return [_piece(row, decoded, where, target) for row, target in zip(rows, targets, strict=True)]


def _segment(kind: int, rows: list[Row], parameters: list[int], streams: Streams, where: str) -> list[Array]:
    """What a segment holds for each of its pieces."""
    if len(parameters) != (3, 1, 0)[kind]:
        raise CorruptFileError(f"{where}: a segment has {len(parameters)} parameters")
    if not rows:
        raise CorruptFileError(f"{where}: a segment belongs to no piece")
    if kind == SIGNS:
        return _decode_signs(rows, streams, where)
    entries = [row.entries for row in rows]
    if kind == POSITIONS:
        sizes = [row.size for row in rows]
        found: list[Array] = list(
            positions.decode_positions(parameters, streams, entries, [row.escapes for row in rows], sizes)
        )
        return found
    dtype = rows[0].dtype
    if any(row.dtype != dtype for row in rows):
        raise CorruptFileError(f"{where}: a segment mixes dtypes")
    total = sum(entries)
    values = planes.decode_values(parameters, streams, total, dtype.itemsize, kind_of(dtype))
    ends = np.cumsum(entries)
    return [values[end - count : end] for end, count in zip(ends.tolist(), entries, strict=True)]


def _decode_signs(rows: list[Row], streams: Streams, where: str) -> list[Array]:
    counts = [row.size - row.entries for row in rows]
    packed = streams(sum(map(row_bytes, counts)))
    result, at = [], 0
    for count in counts:
        part = packed[at : at + row_bytes(count)]
        at += row_bytes(count)
        if not padding_is_zero(part, count):
            raise CorruptFileError(f"{where}: padding bits must be zero")
        result.append(np.unpackbits(part, count=count, bitorder="little"))
    return result


def _piece(row: Row, decoded: list[Any], where: str, target: Array | None) -> Array:
    """One piece put together from its segments."""
    dtype = np.dtype(f"u{row.dtype.itemsize}")
    if row.entries == row.size and row.entries:
        patterns: Array = next(decoded[row.values])
        if target is not None:
            target[:] = patterns
    else:
        patterns = np.zeros(row.size, dtype) if target is None else target
        position = next(decoded[row.positions]) if row.positions >= 0 else np.zeros(0, np.int64)
        if row.signs >= 0:
            zeros = np.ones(row.size, np.bool_)
            zeros[position] = False
            patterns[zeros] = next(decoded[row.signs]).astype(dtype) << dtype.type(dtype.itemsize * 8 - 1)
        if row.entries:
            patterns[position] = next(decoded[row.values])
    if zlib.crc32(np.ascontiguousarray(patterns).data) != row.crc:
        raise CorruptFileError(f"{where}: checksum of a tensor's bytes does not match")
    return patterns
