"""The index of an archive: which tensors, pieces and segments there are, and where.

Columns of integers, because they compress: one entry a tensor, a piece (a range of a tensor's elements)
or a segment (streams coded together for several pieces of a chunk).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..files.container.header import DTYPES
from .tree import Tree, to_json

VALUES, POSITIONS, SIGNS = 0, 1, 2

PLAIN, SCALED = 0, 1


@dataclass
class TensorColumns:
    """dtype and shape; kind SCALED: stored as alphas [rows] and 0, 1, 2 for 0, +alpha, -alpha."""

    dtype: list[str] = field(default_factory=list)
    shape: list[list[int]] = field(default_factory=list)
    kind: list[int] = field(default_factory=list)
    #: Strides, in elements, of tensors that were not row-major; {} for most files.
    strides: dict[str, list[int]] = field(default_factory=dict)
    #: Layouts of tensors that were sparse in torch; left out of the file where there are none.
    layouts: dict[str, str] = field(default_factory=dict)


@dataclass
class PieceColumns:
    """Elements, stored entries and escapes of each piece, its segments (-1: none) and CRC-32 of its bytes."""

    size: list[int] = field(default_factory=list)
    entries: list[int] = field(default_factory=list)
    escapes: list[int] = field(default_factory=list)
    values: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    signs: list[int] = field(default_factory=list)
    crc: list[int] = field(default_factory=list)


@dataclass
class SegmentColumns:
    """Kind, parameters and stored bytes of the streams of each segment."""

    kind: list[int] = field(default_factory=list)
    parameters: list[list[int]] = field(default_factory=list)
    streams: list[list[int]] = field(default_factory=list)


@dataclass
class ChunkColumns:
    """How many of the pieces and segments belong to each chunk."""

    pieces: list[int] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)


@dataclass
class Index:
    """Everything about an archive but its streams."""

    tree: Tree
    metadata: dict[str, str]
    notes: list[str]
    tensors: TensorColumns = field(default_factory=TensorColumns)
    pieces: PieceColumns = field(default_factory=PieceColumns)
    segments: SegmentColumns = field(default_factory=SegmentColumns)
    chunks: ChunkColumns = field(default_factory=ChunkColumns)

    def parts(self, tensor: int) -> list[tuple[np.dtype[Any], int]]:
        """dtype and elements of what is stored for a tensor: itself, or alphas and signs."""
        dtype, shape = DTYPES[self.tensors.dtype[tensor]], self.tensors.shape[tensor]
        size = math.prod(shape)
        if self.tensors.kind[tensor] == SCALED:
            return [(dtype, shape[0]), (np.dtype(np.uint8), size)]
        return [(dtype, size)]

    def places(self) -> Iterator[tuple[int, int, int]]:
        """(tensor, part, first element) of every piece."""
        at = 0
        for tensor in range(len(self.tensors.dtype)):
            for part, (_, size) in enumerate(self.parts(tensor)):
                start = 0
                while start < size:
                    yield tensor, part, start
                    start += self.pieces.size[at]
                    at += 1

    def to_bytes(self) -> bytes:
        """The index as JSON."""
        columns = {name: asdict(getattr(self, name)) for name in COLUMNS}
        if not self.tensors.layouts:
            del columns["tensors"]["layouts"]
        head = {"tree": to_json(self.tree), "metadata": self.metadata, "notes": self.notes}
        return json.dumps(head | columns, separators=(",", ":"), ensure_ascii=False).encode()


COLUMNS = {
    "tensors": TensorColumns,
    "pieces": PieceColumns,
    "segments": SegmentColumns,
    "chunks": ChunkColumns,
}
