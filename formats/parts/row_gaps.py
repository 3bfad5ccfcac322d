"""Positions as in-row gaps: what `csr` and `bsr` share.

A row's column indices are stored as the number of zeros skipped since the previous entry of the row,
in 8, 16 or 32 bits. Where a gap does not fit, a *filler* entry without a value is stored. The idea of
short relative indices with fillers is from Han et al., "Deep Compression", ICLR 2016, section 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from ..base import Array, Packed, TensorStats, require

GAP_DTYPES = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.uint32))
INDPTR_DTYPES = (np.dtype(np.uint16), np.dtype(np.uint32), np.dtype(np.uint64))
BLOCK = 1 << 15  # entries decoded at a time, so that the decoder's temporaries stay in the cache

#: ONNX text: int32 `{position}` [entries], row-major in a matrix of `{rows}` (int64 [1]) rows of `{cols}`
#: (int32 scalar) columns, from `indptr` and `gaps`. A walk over all gaps says how far each row's beginning is
#: from where the row before it ends; with these jumps added where rows begin, a second walk needs no rows. An
#: entry is put behind the last, so that rows without entries at the end begin somewhere.
POSITIONS_DECODE = """
        {out}_one = Constant <value = int32 {{1}}> ()
        {out}_none = Constant <value = int32 {{0}}> ()
        {out}_one1 = Constant <value = int32[1] {{1}}> ()
        {out}_end1 = Constant <value_ints = [-1]> ()
        {out}_more = CastLike ({out}_one1, gaps)
        {out}_gaps = Concat <axis = 0> (gaps, {out}_more)
        {out}_gaps_i = Cast <to = 6> ({out}_gaps)
        {out}_steps = Add ({out}_gaps_i, {out}_one)
        {out}_walk = CumSum <exclusive = 1> ({out}_steps, axis0)
        {out}_pointers = Cast <to = 6> (indptr)
        {out}_begins = Slice ({out}_pointers, zero1, {rows})
        {out}_walked = Gather <axis = 0> ({out}_walk, {out}_begins)
        {out}_rows0 = Squeeze ({rows})
        {out}_rows_i = Cast <to = 6> ({out}_rows0)
        {out}_range = Range ({out}_none, {out}_rows_i, {out}_one)
        {out}_starts = Mul ({out}_range, {cols})
        {out}_ahead = Sub ({out}_starts, {out}_walked)
        {out}_before = Slice ({out}_ahead, zero1, {out}_end1)
        {out}_behind = Concat <axis = 0> ({out}_one1, {out}_before)
        {out}_jumps = Sub ({out}_ahead, {out}_behind)
        {out}_jumping = ScatterElements <reduction = "add"> ({out}_steps, {out}_begins, {out}_jumps)
        {out}_landed = CumSum ({out}_jumping, axis0)
        {position} = Slice ({out}_landed, zero1, {out}_end1)
"""


def narrowest(
    maximum: int, choices: tuple[np.dtype[np.unsignedinteger], ...]
) -> np.dtype[np.unsignedinteger]:
    """The first dtype that holds `maximum`."""
    return next(dtype for dtype in choices if maximum <= np.iinfo(dtype).max)


def sizes(stats: TensorStats, payload: Callable[[int], int]) -> dict[np.dtype[np.unsignedinteger], int]:
    """Exact bytes for each gap width; `payload` gives the bytes of that many entries without their gaps."""
    result = {}
    for dtype in GAP_DTYPES:
        entries = stats.nnz + stats.fillers(dtype.itemsize * 8)
        pointers = (stats.rows + 1) * narrowest(entries, INDPTR_DTYPES).itemsize
        result[dtype] = entries * dtype.itemsize + payload(entries) + pointers
    return result


def smallest(sizes: dict[np.dtype[np.unsignedinteger], int]) -> np.dtype[np.unsignedinteger]:
    """The gap width of fewest bytes, the narrower one on a tie."""
    return min(sizes, key=lambda dtype: (sizes[dtype], dtype.itemsize))


def encode(
    stats: TensorStats, gap_dtype: np.dtype[np.unsignedinteger]
) -> tuple[Array, Array, NDArray[np.int64] | None]:
    """Row pointers, gaps, and the slots of the true entries among all (None where there is no filler)."""
    gaps, ends = stats.gaps, stats.row_ends
    slots = None
    width = gap_dtype.itemsize * 8
    if stats.fillers(width):
        fillers = gaps >> width
        before = np.cumsum(fillers)
        slots = np.arange(gaps.size, dtype=np.int64) + before
        filled = np.full(int(gaps.size + before[-1]), (1 << width) - 1, np.int64)
        filled[slots] = gaps - (fillers << width)
        ends = ends + np.concatenate([[0], before])[ends]
        gaps = filled
    indptr = np.zeros(stats.rows + 1, narrowest(gaps.size, INDPTR_DTYPES))
    indptr[1:] = ends
    return indptr, gaps.astype(gap_dtype), slots


def spread(values: Array, slots: NDArray[np.int64] | None, entries: int) -> Array:
    """One value an entry: `values` at their slots, zeros (fillers) between them; axis 0 is the entry."""
    if slots is None:
        return values
    filled = np.zeros((entries, *values.shape[1:]), values.dtype)
    filled[slots] = values
    return filled


def check(packed: Packed, rows: int, cols: int) -> None:
    """Prove that `indptr` and `gaps` describe entries inside a matrix of `rows` x `cols`."""
    indptr, gaps = packed.components["indptr"], packed.components["gaps"]
    require(indptr.dtype in INDPTR_DTYPES, "must be uint16, uint32 or uint64", packed, "indptr")
    require(indptr.shape == (rows + 1,), f"must have rows + 1 = {rows + 1} entries", packed, "indptr")
    require(gaps.dtype in GAP_DTYPES, "must be uint8, uint16 or uint32", packed, "gaps")
    require(gaps.ndim == 1, "must have one dimension", packed, "gaps")
    require(int(indptr[0]) == 0, "must start at 0", packed, "indptr")
    require(int(indptr[-1]) == gaps.size, f"must end at the {gaps.size} entries there are", packed, "indptr")
    require(bool((indptr[1:] >= indptr[:-1]).all()), "must not decrease", packed, "indptr")
    inside = bool((_last_columns(indptr, gaps) < cols).all())
    require(inside, f"a column is outside the row of {cols}", packed, "gaps")


def walk(indptr: Array, gaps: Array, cols: int) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
    """Entry ranges and their flat positions, about `BLOCK` entries at a time."""
    ends = indptr.astype(np.int64)
    for first, last in _row_blocks(ends):
        lo, hi = int(ends[first]), int(ends[last])
        position = np.cumsum(gaps[lo:hi], dtype=np.int64)
        position += np.arange(hi - lo, dtype=np.int64)
        # The walk runs on over row ends: take back what earlier rows of the block walked.
        starts = ends[first:last] - lo
        walked = np.where(starts > 0, position[np.maximum(starts - 1, 0)] + 1, 0) if hi > lo else starts
        base = np.arange(first, last, dtype=np.int64) * cols - walked
        position += np.repeat(base, np.diff(ends[first : last + 1]))
        yield lo, hi, position


def _last_columns(indptr: Array, gaps: Array) -> NDArray[np.int64]:
    """Column of the last entry of every row, -1 for an empty row; summed in 64 bits, so nothing wraps."""
    starts = indptr[:-1].astype(np.int64)
    counts = indptr[1:].astype(np.int64) - starts
    columns = np.full(starts.size, -1, np.int64)
    if gaps.size:
        full = np.flatnonzero(counts)
        columns[full] += np.add.reduceat(gaps, starts[full], dtype=np.int64) + counts[full]
    return columns


def _row_blocks(ends: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Ranges of rows of about `BLOCK` entries each."""
    first, rows = 0, ends.size - 1
    while first < rows:
        last = int(np.searchsorted(ends, ends[first] + BLOCK, side="right")) - 1
        last = min(max(last, first + 1), rows)
        yield first, last
        first = last
