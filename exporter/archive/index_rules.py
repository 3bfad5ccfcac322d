"""The rules of an archive's index: what its columns must hold to before anything is made of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import accumulate
from typing import Any

from ...errors import CorruptFileError
from ..files.container.header import DTYPES
from .index import PLAIN, POSITIONS, SCALED, SIGNS, VALUES, Index, TensorColumns
from .sparse import is_layout

#: Elements of a piece at most: bounds what one piece can make a reader allocate.
PIECE_LIMIT = 1 << 24

#: Dense bytes of a chunk at most: bounds what a reader holds at once (a writer stops at 8 MB).
CHUNK_LIMIT = 1 << 27


def require(condition: bool, where: str, rule: str) -> None:
    """Raise `CorruptFileError` unless the condition holds."""
    if not condition:
        raise CorruptFileError(f"{where}: index breaks a rule: {rule}")


def read_columns(raw: Any, cls: type, where: str) -> Any:
    """One group of columns: lists of one length, of plain integers (or what the column is for)."""
    names = list(cls.__dataclass_fields__)  # type: ignore[attr-defined]
    names = [name for name in names if name != "layouts" or (isinstance(raw, dict) and name in raw)]
    require(isinstance(raw, dict) and list(raw) == names, where, f"columns are {', '.join(names)}")
    lists = {name: raw[name] for name in names if name not in ("strides", "layouts")}
    require(all(isinstance(column, list) for column in lists.values()), where, "a column is no list")
    require(len({len(column) for column in lists.values()}) == 1, where, "columns differ in length")
    for name, column in lists.items():
        if name == "dtype":
            ok = all(isinstance(v, str) and v in DTYPES for v in column)
        elif name in ("shape", "parameters", "streams"):
            ok = all(isinstance(v, list) and all(_small(n) for n in v) for v in column)
        else:
            ok = all(_small(v) for v in column)
        require(ok, where, f"column '{name}' holds a value of a wrong kind")
    return cls(**raw)


def _small(value: Any) -> bool:
    return type(value) is int and -1 <= value < 1 << 64


def check_tensors(index: Index, where: str) -> None:
    """Shapes, kinds, layouts and strides are of tensors that there can be."""
    tensors = index.tensors
    require(isinstance(tensors.strides, dict), where, "strides are no object")
    for dtype, shape, kind in zip(tensors.dtype, tensors.shape, tensors.kind, strict=True):
        require(len(shape) <= 8 and all(0 <= n < 1 << 48 for n in shape), where, "a shape is out of range")
        # Empty axes must not hide that the others overflow: a library multiplies them all the same.
        whole = math.prod(max(1, n) for n in shape) * DTYPES[dtype].itemsize
        require(whole < 1 << 48, where, "a tensor is over 2^48 bytes")
        require(kind in (PLAIN, SCALED) and (kind == PLAIN or len(shape) > 0), where, "unknown tensor kind")
        require(kind == PLAIN or DTYPES[dtype].kind in "fV", where, "scaled tensors are floats")
    require(isinstance(tensors.layouts, dict), where, "layouts are no object")
    for key, layout in tensors.layouts.items():
        known = _is_tensor(key, tensors)
        require(
            known and is_layout(layout, tensors.shape[int(key)]), where, "a layout does not fit its tensor"
        )
    for key, strides in tensors.strides.items():
        known = _is_tensor(key, tensors)
        shape = tensors.shape[int(key)] if known else []
        fits = isinstance(strides, list) and len(strides) == len(shape)
        fits = fits and all(type(n) is int and 0 <= n < 1 << 48 for n in strides)
        require(known and fits, where, "strides do not fit their tensor")
        require(fills(shape, strides), where, "strides do not fill the tensor's memory")


def _is_tensor(key: str, tensors: TensorColumns) -> bool:
    return key.isascii() and key.isdigit() and len(key) < 9 and int(key) < len(tensors.dtype)


def fills(shape: Iterable[int], strides: Iterable[int]) -> bool:
    """Whether these strides visit every element of a block of memory once, in some order of the axes."""
    expected = 1
    for stride, size in sorted(zip(strides, shape, strict=True)):
        if size == 1:
            continue
        if stride != expected:
            return False
        expected *= size
    return True


def _piece_bytes(parts: list[int], widths: list[int], sizes: list[int]) -> list[int]:
    """Dense bytes of every piece."""
    result: list[int] = []
    for left, width in zip(parts, widths, strict=True):
        while left > 0:
            left -= sizes[len(result)]
            result.append(sizes[len(result)] * width)
    return result


def check_pieces(index: Index, where: str) -> None:
    """Pieces tile the parts of the tensors in order, and refer to segments of their own chunk."""
    pieces, chunks, segments = index.pieces, index.chunks, index.segments
    expected = [size for t in range(len(index.tensors.dtype)) for _, size in index.parts(t)]
    at = 0
    for size in expected:
        while size > 0:
            require(at < len(pieces.size), where, "pieces are missing")
            require(0 < pieces.size[at] <= min(size, PIECE_LIMIT), where, "a piece crosses a tensor's end")
            size -= pieces.size[at]
            at += 1
    require(at == len(pieces.size), where, "more pieces than tensors need")
    require(all(n >= 0 for n in (*chunks.pieces, *chunks.segments)), where, "a negative count")
    require(sum(chunks.pieces) == at and sum(chunks.segments) == len(segments.kind), where, "chunk counts")
    require(all(kind in (VALUES, POSITIONS, SIGNS) for kind in segments.kind), where, "segment kind")
    require(all(n >= 0 for streams in segments.streams for n in streams), where, "a negative stream")
    widths = [dtype.itemsize for t in range(len(index.tensors.dtype)) for dtype, _ in index.parts(t)]
    dense = list(accumulate(_piece_bytes(expected, widths, pieces.size), initial=0))
    ends = list(accumulate(chunks.pieces))
    starts = [end - count for end, count in zip(ends, chunks.pieces, strict=True)]
    held = max((dense[b] - dense[a] for a, b in zip(starts, ends, strict=True)), default=0)
    require(held <= CHUNK_LIMIT, where, f"a chunk of {held} bytes")
    first_segment = list(accumulate(chunks.segments, initial=0))
    for chunk, end in enumerate(ends):
        kinds = segments.kind[first_segment[chunk] : first_segment[chunk + 1]]
        for i in range(end - chunks.pieces[chunk], end):
            size, entries, escapes = pieces.size[i], pieces.entries[i], pieces.escapes[i]
            require(0 <= entries <= size and 0 <= escapes <= size, where, "entries of a piece")
            require(0 <= pieces.crc[i] < 1 << 32, where, "a checksum is out of range")
            for column, kind, needed in (
                (pieces.values, VALUES, entries > 0),
                (pieces.positions, POSITIONS, 0 < entries < size),
                (pieces.signs, SIGNS, None),
            ):
                segment = column[i]
                present = segment >= 0
                require(
                    needed is None or present == needed, where, "a piece lacks a segment, or has one too many"
                )
                good = not present or (segment < len(kinds) and kinds[segment] == kind)
                require(good, where, "a piece refers to no segment of its kind")
            require(pieces.signs[i] < 0 or entries < size, where, "signs of zeros without zeros")
