"""One chunk of an archive: some megabytes of pieces, coded together and on their own thread.

Small pieces of one kind (the BatchNorm biases of all layers, say) share a segment, so that they share the
code tables; large ones have their own, so that the tables fit their density and range.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import CorruptFileError
from ...formats.base import Array
from ...formats.parts.bits import padding_is_zero, row_bytes
from . import planes
from .entropy import Bytes, expand, squeeze
from .index import POSITIONS, SIGNS, VALUES

#: Pieces with more entries than this have a segment of their own.
OWN_VALUES = 1 << 15
OWN_POSITIONS = 1 << 12
#: Above this density all elements are stored as values, and no positions.
ALL = 0.95
#: Above this density positions are a mask, below it gaps.
MASK = 0.25


@dataclass
class Piece:
    """A range of a tensor's elements, and what the chunk's coder needs to know about it."""

    patterns: Array
    kind: str
    #: Pieces of one family have similar values: dtype, last part of the name, rank.
    family: tuple[Any, ...]
    crc: int = 0
    entries: int = 0
    escapes: int = 0
    values: int = -1
    positions: int = -1
    signs: int = -1
    where: NDArray[np.int64] | None = None


@dataclass
class Coded:
    """A chunk's streams and its rows of the index."""

    pieces: list[Piece]
    kinds: list[int] = field(default_factory=list)
    segments: list[planes.Segment] = field(default_factory=list)

    def add(self, kind: int, segment: planes.Segment) -> int:
        self.kinds.append(kind)
        self.segments.append(segment)
        return len(self.segments) - 1


def kind_of(dtype: np.dtype[Any]) -> str:
    """'f' for floats of any kind, 'i' for signed and 'u' for unsigned integers and booleans."""
    return {"f": "f", "V": "f", "c": "f", "i": "i"}.get(dtype.kind, "u")


def encode(pieces: list[Piece]) -> Coded:
    """The chunk of these pieces; their patterns are dropped as they are coded."""
    coded = Coded(pieces)
    for piece in pieces:
        _find_entries(piece)
    _encode_signs(coded)
    _encode_positions(coded)
    _encode_values(coded)
    return coded


def _find_entries(piece: Piece) -> None:
    """Count the entries and note where they are; an entry is what is no zero of either sign."""
    patterns = piece.patterns
    piece.crc = zlib.crc32(np.ascontiguousarray(patterns).data)
    flags = patterns != 0
    count = int(np.count_nonzero(flags))
    if piece.kind == "f" and count:
        sign = patterns.dtype.type(1 << (patterns.dtype.itemsize * 8 - 1))
        negative = patterns == sign
        if negative.any():
            piece.signs = 0
            flags &= ~negative
            count = int(np.count_nonzero(flags))
    piece.entries = count
    if count > ALL * patterns.size:
        piece.entries, piece.signs = patterns.size, -1
    elif count:
        piece.where = np.flatnonzero(flags)


def _encode_signs(coded: Coded) -> None:
    """One bit for every zero of the pieces that hold a -0.0."""
    signed = [piece for piece in coded.pieces if piece.signs == 0]
    if not signed:
        return
    streams = []
    for piece in signed:
        zeros = np.ones(piece.patterns.size, np.bool_)
        if piece.where is not None:
            zeros[piece.where] = False
        streams.append(np.packbits(piece.patterns[zeros] != 0, bitorder="little"))
    number = coded.add(SIGNS, planes.Segment([], [squeeze(np.concatenate(streams))]))
    for piece in signed:
        piece.signs = number


def _encode_positions(coded: Coded) -> None:
    """Segments of gaps, of pieces of similar density together; masks where much is kept."""
    sparse = [piece for piece in coded.pieces if piece.where is not None]
    masked = [piece for piece in sparse if piece.entries > MASK * piece.patterns.size]
    gapped = [piece for piece in sparse if piece.entries <= MASK * piece.patterns.size]
    for pieces in _groups(masked):
        where = [piece.where for piece in pieces if piece.where is not None]
        segment = planes.encode_mask(where, [piece.patterns.size for piece in pieces])
        number = coded.add(POSITIONS, segment)
        for piece in pieces:
            piece.positions = number
    for pieces in _groups(gapped):
        where = [piece.where for piece in pieces if piece.where is not None]
        segment, escapes = planes.encode_gaps(where)
        number = coded.add(POSITIONS, segment)
        for piece, count in zip(pieces, escapes, strict=True):
            piece.positions, piece.escapes = number, count


def _groups(pieces: list[Piece]) -> list[list[Piece]]:
    """Pieces in groups of similar density with enough entries to pay for a code table, in chunk order."""
    order = {id(piece): i for i, piece in enumerate(pieces)}
    groups: list[list[Piece]] = []
    current: list[Piece] = []
    for piece in sorted(pieces, key=lambda piece: piece.entries / piece.patterns.size):
        current.append(piece)
        if sum(p.entries for p in current) >= OWN_POSITIONS:
            groups.append(current)
            current = []
    if current:
        groups.append(current)
    return [sorted(group, key=lambda piece: order[id(piece)]) for group in groups]


def _encode_values(coded: Coded) -> None:
    """Segments of values: a large piece's own, or those of a family of small ones."""
    families: dict[Any, list[Piece]] = defaultdict(list)
    for number, piece in enumerate(coded.pieces):
        if piece.entries:
            dense = piece.where is None
            key = number if piece.entries >= OWN_VALUES else (*piece.family, dense)
            families[key].append(piece)
    for pieces in families.values():
        parts = [piece.patterns if piece.where is None else piece.patterns[piece.where] for piece in pieces]
        values = parts[0] if len(parts) == 1 else np.concatenate(parts)
        number = coded.add(VALUES, planes.encode_values(values, pieces[0].kind))
        for piece in pieces:
            piece.values = number


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
            planes.decode_positions(parameters, streams, entries, [row.escapes for row in rows], sizes)
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
