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

from ...formats.base import Array
from . import planes, positions
from .entropy import squeeze
from .index import POSITIONS, SIGNS, VALUES
from .segment import Segment

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
    segments: list[Segment] = field(default_factory=list)

    def add(self, kind: int, segment: Segment) -> int:
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
    number = coded.add(SIGNS, Segment([], [squeeze(np.concatenate(streams))]))
    for piece in signed:
        piece.signs = number


def _encode_positions(coded: Coded) -> None:
    """Segments of gaps, of pieces of similar density together; masks where much is kept."""
    sparse = [piece for piece in coded.pieces if piece.where is not None]
    masked = [piece for piece in sparse if piece.entries > MASK * piece.patterns.size]
    gapped = [piece for piece in sparse if piece.entries <= MASK * piece.patterns.size]
    for pieces in _groups(masked):
        where = [piece.where for piece in pieces if piece.where is not None]
        segment = positions.encode_mask(where, [piece.patterns.size for piece in pieces])
        number = coded.add(POSITIONS, segment)
        for piece in pieces:
            piece.positions = number
    for pieces in _groups(gapped):
        where = [piece.where for piece in pieces if piece.where is not None]
        segment, escapes = positions.encode_gaps(where)
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
