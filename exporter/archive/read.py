"""An archive opened for reading: its index checked, its chunks decoded in parallel and in order."""

from __future__ import annotations

import math
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ...errors import CorruptFileError, InputError
from ...formats.base import Array
from ..files import budget, sandbox
from ..files.budget import INDEX_BYTES, INDEX_TIMES
from ..files.container import Container, open_regular
from ..files.container.header import DTYPES
from ..files.failures import ours
from . import chunk as archive_chunk
from . import index as archive_index
from .chunk import Row
from .index import PLAIN, Index
from .tree import leaves

FORMAT = "sparse-export archive"
VERSION = "1"
U8 = np.dtype(np.uint8)
Step = Callable[[int, int], None]
#: (tensor, part, first element, size) to zeroed memory for it, or None.
Place = Callable[[int, int, int, int], Array | None]
T = TypeVar("T")


def silent(done: int, total: int) -> None:
    """A step that says nothing."""


def nowhere(tensor: int, part: int, start: int, size: int) -> None:
    """No memory of the caller's: every piece gets its own."""


@dataclass
class Report:
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


class Archive:
    """An archive opened for reading; unless `trusted`, its index is parsed in a child under limits first.

    Raises
    ------
    CorruptFileError
        If the file is no archive, or its header or index breaks a rule.
    """

    def __init__(self, path: Path, *, trusted: bool = False) -> None:
        self.path = Path(path)
        if not trusted:
            with ours(self.path):
                _probe(self.path)
        self.container = Container(self.path)
        try:
            self.index, self.index_bytes = self._read_index()
            self.names = self._names()
        except BaseException:
            self.container.__exit__()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.container.__exit__()

    def _names(self) -> list[tuple[str, int]]:
        try:
            return leaves(self.index.tree)
        except CorruptFileError as error:
            raise CorruptFileError(f"{self.path}: {error}") from None

    def _read_index(self) -> tuple[Index, int]:
        where, metadata = str(self.path), self.container.metadata
        if metadata.get("format") != FORMAT:
            raise InputError(f"{where}: is not an archive of sparse-export; make one with --archive")
        if metadata.get("version") != VERSION:
            raise CorruptFileError(
                f"{where}: archive version {metadata.get('version', '?')[:20]} is not {VERSION}"
            )
        entries = self.container.entries
        names = [*(f"chunk{i}" for i in range(len(entries) - 1)), "index"]
        good = set(entries) == set(names) and all(
            e.dtype == U8 and len(e.shape) == 1 for e in entries.values()
        )
        if not good:
            raise CorruptFileError(f"{where}: tensors must be chunk0, chunk1, ... and index, all U8 vectors")
        stored = self.container.read("index").tobytes()
        if metadata.get("index_crc32") != f"{zlib.crc32(stored):08x}":
            raise CorruptFileError(f"{where}: checksum of the index is missing or does not match")
        index = archive_index.parse(_expand_index(stored, where), where)
        if len(index.chunks.pieces) != len(entries) - 1:
            raise CorruptFileError(f"{where}: index describes {len(index.chunks.pieces)} chunks")
        return index, len(stored)

    def chunks(
        self, threads: int | None = None, progress: Step = silent, place: Place = nowhere
    ) -> Iterator[tuple[int, list[Array]]]:
        """(first piece, bit patterns of its pieces) of every chunk in order, checksums verified."""
        places = list(self._places())
        rows = self._rows()
        jobs, piece, segment = [], 0, 0
        for number, (pieces, segments) in enumerate(
            zip(self.index.chunks.pieces, self.index.chunks.segments, strict=True)
        ):
            jobs.append((number, piece, rows[piece : piece + pieces], segment, segment + segments))
            piece, segment = piece + pieces, segment + segments
        columns = self.index.segments

        def decode(job: tuple[int, int, list[Row], int, int]) -> tuple[int, list[Array]]:
            number, first, members, low, high = job
            data = self.container.read(f"chunk{number}").data
            where = f"{self.path}: chunk{number}"
            return first, archive_chunk.decode(
                data,
                members,
                columns.kind[low:high],
                columns.parameters[low:high],
                columns.streams[low:high],
                where,
                [place(*places[i], rows[i].size) for i in range(first, first + len(members))],
            )

        for done, result in enumerate(in_order(decode, jobs, threads)):
            yield result
            progress(done + 1, len(jobs))

    def _rows(self) -> list[Row]:
        """The pieces, each with the dtype of its part."""
        pieces, rows = self.index.pieces, list[Row]()
        for tensor in range(len(self.index.tensors.dtype)):
            for dtype, size in self.index.parts(tensor):
                while size > 0:
                    i = len(rows)
                    rows.append(
                        Row(
                            pieces.size[i],
                            pieces.entries[i],
                            pieces.escapes[i],
                            pieces.values[i],
                            pieces.positions[i],
                            pieces.signs[i],
                            pieces.crc[i],
                            dtype,
                        )
                    )
                    size -= pieces.size[i]
        return rows

    def read(
        self, threads: int | None = None, progress: Step = silent, place: Place = nowhere
    ) -> Iterator[tuple[int, int, Array]]:
        """(tensor, first element, bit patterns) of every piece of every tensor, in order.

        `place` may give zeroed memory for a piece of a tensor that is not SCALED.
        """
        places = list(self._places())
        alphas: dict[int, Array] = {}
        for first, pieces in self.chunks(threads, progress, place):
            for patterns, (tensor, part, start) in zip(pieces, places[first:], strict=False):
                if self.index.tensors.kind[tensor] == PLAIN:
                    yield tensor, start, patterns
                elif part == 0:
                    alphas[tensor] = np.concatenate([alphas.get(tensor, patterns[:0]), patterns])
                else:
                    yield tensor, start, self._scale(tensor, start, patterns, alphas[tensor])

    def _places(self) -> Iterator[tuple[int, int, int]]:
        """(tensor, part, first element) of every piece."""
        at = 0
        for tensor in range(len(self.index.tensors.dtype)):
            for part, (_, size) in enumerate(self.index.parts(tensor)):
                start = 0
                while start < size:
                    yield tensor, part, start
                    start += self.index.pieces.size[at]
                    at += 1

    def _scale(self, tensor: int, start: int, signs: Array, alphas: Array) -> Array:
        """Bit patterns of weights stored as alphas and signs."""
        if int(signs.max(initial=0)) > 2:
            raise CorruptFileError(f"{self.path}: a sign of a scaled tensor is not 0, 1 or 2")
        cols = math.prod(self.index.tensors.shape[tensor][1:])
        rows = np.arange(start, start + signs.size, dtype=np.int64) // cols
        top = alphas.dtype.type(1 << (alphas.dtype.itemsize * 8 - 1))
        magnitude = alphas[rows]
        magnitude[signs == 0] = 0
        magnitude[signs == 2] |= top
        return magnitude

    def report(self) -> Report:
        """Names, sizes and what each tensor takes of the file."""
        index = self.index
        tensors: dict[str, dict[str, Any]] = {}
        packed, entries = self._shares()
        first: dict[int, str] = {}
        tied = {}
        overhead = self.index_bytes / max(1, len(index.tensors.dtype))
        for name, number in self.names:
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
        return Report(self.path, self.path.stat().st_size, dense, tensors, index.notes, tied)

    def _shares(self) -> tuple[list[float], list[int]]:
        """Bytes and entries of each tensor; a shared segment is divided by entries (zeros for signs)."""
        index = self.index
        count = len(index.tensors.dtype)
        packed, entries = [0.0] * count, [0] * count
        places = [tensor for tensor, *_ in self._places()]
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


def _probe(path: Path) -> None:
    """Open the archive in a child: what its index costs to parse is the child's."""
    size = open_regular(path).seek(0, os.SEEK_END)
    limits = budget.current()
    # Only the index is read: streams, however large, take no part.
    memory, seconds = limits.address_space(0), limits.time(size)
    sandbox.run(_open, path, memory=memory, seconds=seconds, subject=path)


def _open(path: Path) -> None:
    with Archive(path, trusted=True):
        pass


def _expand_index(stored: bytes, where: str) -> bytes:
    """The index's JSON, refused before decoding if it says it is larger than any index."""
    import zstandard

    try:
        size = zstandard.frame_content_size(stored)
        most = min(archive_index.INDEX_LIMIT, INDEX_BYTES + INDEX_TIMES * len(stored))
        if not 0 < size <= most:
            raise CorruptFileError(f"{where}: index says it is {size} bytes")
        return zstandard.ZstdDecompressor().decompress(stored, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CorruptFileError(f"{where}: index is broken: {error}") from None


def in_order(function: Callable[[Any], T], jobs: Iterable[Any], threads: int | None) -> Iterator[T]:
    """Results of the function in the order of the jobs, a few of them ahead on other threads."""
    threads = threads or min(4, os.cpu_count() or 1)
    if threads == 1:
        yield from map(function, jobs)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(function, job))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
