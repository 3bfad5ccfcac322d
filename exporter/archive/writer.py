"""Writing an archive: which tensors, cut into which pieces, in which chunks; then chunk by chunk."""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np

from ...formats.base import Array, TensorStats
from ...formats.bitpack import find_scales
from ..files.container.header import DTYPES, header_bytes
from . import chunk as archive_chunk
from .chunk import Piece
from .index import PLAIN, SCALED, SIGNS, Index
from .ordered import in_order
from .read import FORMAT, U8, VERSION
from .saved import Saved, SavedTensor
from .tree import Leaf, fill, leaves

CHUNK_BYTES = 8 << 20
#: Largest weight that is looked at as a whole for alphas of its rows.
SCALED_LIMIT = 256 << 20
#: Tensor, range of its elements, and the family its values belong to.
Cut = tuple[SavedTensor, int, int, Any]


class Cutting:
    """The order of things: which tensors, cut into which pieces, in which chunks."""

    def __init__(self, saved: Saved) -> None:
        named = leaves(saved.tree)
        order = {index: place for place, index in enumerate(dict.fromkeys(index for _, index in named))}
        self.tensors = [saved.tensors[index] for index in order]
        names = {order[index]: name for name, index in reversed(named)}
        self.index = Index(_renumber(saved.tree, order), saved.metadata, saved.notes)
        self.chunks: list[list[Cut]] = [[]]
        held = 0
        for place, tensor in enumerate(self.tensors):
            scales = _find_scales(tensor)
            columns = self.index.tensors
            columns.dtype.append(tensor.dtype)
            columns.shape.append(list(tensor.shape))
            columns.kind.append(PLAIN if scales is None else SCALED)
            if tensor.strides is not None:
                columns.strides[str(place)] = list(tensor.strides)
            if tensor.layout is not None:
                columns.layouts[str(place)] = tensor.layout
            family = (tensor.dtype, names[place].rpartition(".")[2], len(tensor.shape) > 1)
            parts = [tensor] if scales is None else [_alphas(scales), _signs(tensor)]
            for part in parts:
                for start, stop in _cuts(part):
                    if held and held + (stop - start) * DTYPES[part.dtype].itemsize > CHUNK_BYTES:
                        self.chunks.append([])
                        held = 0
                    self.chunks[-1].append((part, start, stop, (part.dtype, *family)))
                    held += (stop - start) * DTYPES[part.dtype].itemsize

    def encode(self, chunk: list[Cut]) -> archive_chunk.Coded:
        """Read and code the pieces of one chunk."""
        pieces = [
            Piece(tensor.read(start, stop), archive_chunk.kind_of(DTYPES[tensor.dtype]), family)
            for tensor, start, stop, family in chunk
        ]
        coded = archive_chunk.encode(pieces)
        for tensor, *_ in chunk:
            tensor.release()
        return coded

    def record(self, coded: archive_chunk.Coded) -> list[bytes]:
        """Add a chunk's rows to the index; return its streams in order."""
        rows, segments = self.index.pieces, self.index.segments
        for piece in coded.pieces:
            rows.size.append(int(piece.patterns.size))
            rows.entries.append(piece.entries)
            rows.escapes.append(piece.escapes)
            rows.values.append(piece.values)
            rows.positions.append(piece.positions)
            rows.signs.append(piece.signs)
            rows.crc.append(piece.crc)
        for kind, segment in zip(coded.kinds, coded.segments, strict=True):
            segments.kind.append(kind)
            segments.parameters.append(segment.parameters)
            segments.streams.append([len(stream) for stream in segment.streams])
        self.index.chunks.pieces.append(len(coded.pieces))
        self.index.chunks.segments.append(len(coded.segments))
        return [stream for segment in coded.segments for stream in segment.streams]


def write_file(
    file: BinaryIO, cutting: Cutting, threads: int | None, progress: Callable[[str, int, int], None]
) -> None:
    """Header (of reserved length), chunks as they are coded, index; then the header again, filled in."""
    import zstandard

    sizes = [2 * sum((stop - start) * 8 for _, start, stop, _ in chunk) for chunk in cutting.chunks]
    reserved = len(_header([*sizes], 1 << 30, 0))
    file.seek(reserved)
    lengths = []
    for coded in in_order(cutting.encode, cutting.chunks, threads):
        streams = cutting.record(coded)
        for stream in streams:
            file.write(stream)
        lengths.append(sum(map(len, streams)))
        progress("packing", len(lengths), len(cutting.chunks))
    _note_signs(cutting.index)
    text = cutting.index.to_bytes()
    index = zstandard.ZstdCompressor(level=19).compress(text)
    file.write(index)
    file.seek(0)
    header = _header(lengths, len(index), zlib.crc32(index))
    file.write((reserved - 8).to_bytes(8, "little") + header[8:] + b" " * (reserved - len(header)))
    file.seek(0, os.SEEK_END)


def _note_signs(index: Index) -> None:
    """Say what the signs of zeros cost, where they cost anything worth saying."""
    segments = index.segments
    cost = sum(sum(s) for kind, s in zip(segments.kind, segments.streams, strict=True) if kind == SIGNS)
    if cost > 1024:
        index.notes.append(
            f"the signs of -0.0 (left by weight x mask) take {cost:,} bytes: kept as asked for"
        )


def _header(chunks: list[int], index: int, crc: int) -> bytes:
    tensors = {f"chunk{i}": (U8, (size,)) for i, size in enumerate(chunks)}
    metadata = {"format": FORMAT, "version": VERSION, "index_crc32": f"{crc:08x}"}
    return header_bytes({**tensors, "index": (U8, (index,))}, metadata)


def _renumber(tree: Any, order: dict[int, int]) -> Any:
    """The tree with leaves numbered in the order in which they are stored."""
    return fill(tree, lambda index: Leaf(order[index]))


def _cuts(tensor: SavedTensor) -> Iterator[tuple[int, int]]:
    """Ranges of at most a chunk each, of nearly equal length."""
    size, width = math.prod(tensor.shape), DTYPES[tensor.dtype].itemsize
    if not size:
        return
    count = -(-size * width // CHUNK_BYTES)
    step = -(-size // count)
    for start in range(0, size, step):
        yield start, min(size, start + step)


def _find_scales(tensor: SavedTensor) -> Array | None:
    """Patterns of the alphas of the rows, where rows differ in alpha and hold nothing but 0 and +-alpha."""
    dtype, shape = DTYPES[tensor.dtype], tensor.shape
    size = math.prod(shape)
    cols = size // shape[0] if shape and size else 0
    if cols < 4 or shape[0] < 2 or dtype.kind not in "fV" or size * dtype.itemsize > SCALED_LIMIT:
        return None
    sign = 1 << (dtype.itemsize * 8 - 1)
    row = tensor.read(0, min(cols, 256))
    magnitudes = np.unique(row[row != 0] & row.dtype.type(sign - 1))
    if magnitudes.size > 1:
        return None
    patterns = tensor.read(0, size)
    scales = find_scales(TensorStats(patterns.view(dtype).reshape(shape)), allow_zeros=True)
    return None if scales is None or scales.size == 1 else scales.view(patterns.dtype)


def _alphas(scales: Array) -> SavedTensor:
    code = {2: "F16", 4: "F32", 8: "F64", 1: "U8"}[scales.dtype.itemsize]
    return SavedTensor(code, scales.shape, lambda start, stop: scales[start:stop])


def _signs(tensor: SavedTensor) -> SavedTensor:
    """0, 1, 2 for 0, +alpha, -alpha."""

    def read(start: int, stop: int) -> Array:
        patterns = tensor.read(start, stop)
        top = patterns.dtype.type(patterns.dtype.itemsize * 8 - 1)
        signs: Array = (patterns != 0).view(np.uint8) + (patterns >> top).astype(np.uint8)
        return signs

    return SavedTensor("U8", tensor.shape, read, tensor.release)
