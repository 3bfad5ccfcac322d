"""An archive opened for reading: its index checked, its chunks decoded in parallel and in order."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ...errors import CorruptFileError, InputError
from ...formats.base import Array
from ..files import budget, sandbox
from ..files.container import Container, open_regular
from ..files.failures import ours
from . import chunk_read, index_text
from .chunk_read import Row
from .contents import Contents, weigh
from .index import PLAIN, Index
from .ordered import in_order
from .tree import leaves

FORMAT = "sparse-export archive"
VERSION = "1"
U8 = np.dtype(np.uint8)
Step = Callable[[int, int], None]
#: (tensor, part, first element, size) to zeroed memory for it, or None.
Place = Callable[[int, int, int, int], Array | None]


def silent(done: int, total: int) -> None:
    """A step that says nothing."""


def nowhere(tensor: int, part: int, start: int, size: int) -> None:
    """No memory of the caller's: every piece gets its own."""


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
        index = index_text.parse(index_text.expand(stored, where), where)
        if len(index.chunks.pieces) != len(entries) - 1:
            raise CorruptFileError(f"{where}: index describes {len(index.chunks.pieces)} chunks")
        return index, len(stored)

    def chunks(
        self, threads: int | None = None, progress: Step = silent, place: Place = nowhere
    ) -> Iterator[tuple[int, list[Array]]]:
        """(first piece, bit patterns of its pieces) of every chunk in order, checksums verified."""
        places = list(self.index.places())
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
            return first, chunk_read.decode(
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
        places = list(self.index.places())
        alphas: dict[int, Array] = {}
        for first, pieces in self.chunks(threads, progress, place):
            for patterns, (tensor, part, start) in zip(pieces, places[first:], strict=False):
                if self.index.tensors.kind[tensor] == PLAIN:
                    yield tensor, start, patterns
                elif part == 0:
                    alphas[tensor] = np.concatenate([alphas.get(tensor, patterns[:0]), patterns])
                else:
                    yield tensor, start, self._scale(tensor, start, patterns, alphas[tensor])

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

    def contents(self) -> Contents:
        """Names, sizes and what each tensor takes of the file."""
        return weigh(self.path, self.index, self.index_bytes, self.names)


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
