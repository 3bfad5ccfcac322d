"""What an archive holds and weighs, tensor by tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..files.container.header import DTYPES
from .index import Index


@dataclass
class Contents:
    """What an archive holds and weighs.

    Attributes
    ----------
    tensors
        Name to (dtype, shape, dense bytes, entries, packed bytes); packed bytes are the tensor's share of
        the segments it is in and of the index.
    """

    path: Path
    file_bytes: int
    dense_bytes: int
    tensors: dict[str, dict[str, Any]]
    notes: list[str] = field(default_factory=list)
    tied: dict[str, str] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Dense bytes over file bytes."""
        return self.dense_bytes / self.file_bytes


def weigh(path: Path, index: Index, index_bytes: int, names: list[tuple[str, int]]) -> Contents:
    """Sizes of an archive's tensors, and what each takes of the file, its part of the index too."""
    tensors: dict[str, dict[str, Any]] = {}
    packed, entries = _shares(index)
    first: dict[int, str] = {}
    tied = {}
    overhead = index_bytes / max(1, len(index.tensors.dtype))
    for name, number in names:
        if number in first:
            tied[name] = first[number]
            continue
        first[number] = name
        shape, dtype = index.tensors.shape[number], index.tensors.dtype[number]
        tensors[name] = {
            "dtype": dtype,
            "shape": shape,
            "dense_bytes": math.prod(shape) * DTYPES[dtype].itemsize,
            "entries": entries[number],
            "packed_bytes": round(packed[number] + overhead),
        }
    dense = sum(row["dense_bytes"] for row in tensors.values())
    return Contents(path, path.stat().st_size, dense, tensors, index.notes, tied)


def _shares(index: Index) -> tuple[list[float], list[int]]:
    """Bytes and entries of each tensor; a shared segment is divided by entries (zeros for signs)."""
    count = len(index.tensors.dtype)
    packed, entries = [0.0] * count, [0] * count
    places = [tensor for tensor, *_ in index.places()]
    pieces, at, base = index.pieces, 0, 0
    for size, segments in zip(index.chunks.pieces, index.chunks.segments, strict=True):
        members: list[list[tuple[int, int]]] = [[] for _ in range(segments)]
        for i in range(at, at + size):
            entries[places[i]] += pieces.entries[i]
            weight = max(1, pieces.entries[i])
            for column in (pieces.values, pieces.positions, pieces.signs):
                if column[i] >= 0:
                    members[column[i]].append((places[i], weight))
        for number, shares in enumerate(members):
            total, stored = sum(w for _, w in shares), sum(index.segments.streams[base + number])
            for tensor, weight in shares:
                packed[tensor] += stored * weight / total
        at, base = at + size, base + segments
    return packed, entries
