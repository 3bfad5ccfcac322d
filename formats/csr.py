"""`csr`: compressed sparse rows with the narrowest positions that fit.

A row's column indices are stored as *gaps*: the number of zeros skipped since the previous entry of
the row. Gaps are 8, 16 or 32 bits wide, whichever makes the tensor smallest. Where a gap does not
fit, a *filler* entry of value 0 is stored, so 8-bit gaps stay usable far below 1 % density. A wide
gap costs what a wide column index costs (and needs no fillers where the row is shorter than its
range), so 16- and 32-bit columns have no layout of their own.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..errors import UnsupportedError
from .base import (
    MAX_DENSE_BYTES,
    Array,
    Format,
    Packed,
    TensorStats,
    as_bits,
    check_header,
    matrix_shape,
    require,
)

GAP_DTYPES = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.uint32))
INDPTR_DTYPES = (np.dtype(np.uint16), np.dtype(np.uint32), np.dtype(np.uint64))
BLOCK = 1 << 15  # entries decoded at a time


def narrowest(
    maximum: int, choices: tuple[np.dtype[np.unsignedinteger], ...]
) -> np.dtype[np.unsignedinteger]:
    """The first dtype that holds `maximum`."""
    return next(dtype for dtype in choices if maximum <= np.iinfo(dtype).max)


class Csr(Format):
    """Row pointers, gaps and values of the non-zeros.

    Components: ``indptr`` uint16/32/64 [rows + 1], ``gaps`` uint8/16/32 [entries], ``values`` of the
    tensor's dtype [entries]. ``entries`` counts non-zeros and fillers. The column of an entry is the
    column of its predecessor in the row (-1 at the row's start) + 1 + gap.

    The idea of short relative indices with fillers is from Han et al., "Deep Compression",
    ICLR 2016, section 2.

    Examples
    --------
    >>> packed = Csr().pack(np.array([[0, 0, 5], [7, 0, 0]], np.float32))
    >>> packed.components["gaps"].tolist(), packed.components["indptr"].tolist()
    ([2, 0], [0, 1, 2])
    """

    name = "csr"
    summary = "non-zeros with 8/16/32-bit in-row gaps; any pattern, density below about 0.8"
    operator = "Sparse"
    operator_inputs = ("indptr", "gaps", "values")
    operator_decode = """
        steps = Cast <to = 7> (gaps)
        one = Constant <value = int64 {1}> ()
        steps1 = Add (steps, one)
        walk = CumSum (steps1, axis0)
        walk0 = Concat <axis = 0> (zero1, walk)
        ptr = Cast <to = 7> (indptr)
        starts = Slice (ptr, zero1, rows)
        walked = Gather <axis = 0> (walk0, starts)
        zero = Constant <value = int64 {0}> ()
        rows0 = Squeeze (rows)
        row = Range (zero, rows0, one)
        row_start = Mul (row, cols)
        base = Sub (row_start, walked)
        one1 = Constant <value_ints = [1]> ()
        minus1 = Constant <value_ints = [-1]> ()
        base_next = Slice (base, one1, rows)
        base_prev = Slice (base, zero1, minus1)
        base_step = Sub (base_next, base_prev)
        row_next = Slice (starts, one1, rows)
        walk0_shape = Shape (walk0)
        blank = ConstantOfShape <value = int64[1] {0}> (walk0_shape)
        jumps = ScatterElements <reduction = "add"> (blank, row_next, base_step)
        base_all = CumSum (jumps, axis0)
        base_entry = Slice (base_all, zero1, minus1)
        position1 = Add (walk, base_entry)
        position = Sub (position1, one)
        empty = ConstantOfShape <value = float[1] {0.0}> (size)
        values_f = Cast <to = 1> (values)
        dense = ScatterElements (empty, position, values_f)
    """

    def applies_to(self, stats: TensorStats) -> bool:
        return 0 < stats.cols <= np.iinfo(np.uint32).max and stats.rows > 0

    def nbytes(self, stats: TensorStats) -> int:
        return min(_sizes(stats).values())

    def pack(self, array: Array, stats: TensorStats | None = None) -> Packed:
        stats = stats or TensorStats(array)
        if not self.applies_to(stats):
            raise UnsupportedError(
                f"csr: shape {stats.shape} has no elements or rows of 2^32 columns and more"
            )
        sizes = _sizes(stats)
        gap_dtype = min(sizes, key=lambda dtype: (sizes[dtype], dtype.itemsize))
        values = stats.bits[stats.positions]
        gaps, ends = stats.gaps, stats.row_ends
        if stats.fillers(gap_dtype.itemsize * 8):
            gaps, values, ends = _with_fillers(gaps, values, ends, gap_dtype)
        indptr = np.zeros(stats.rows + 1, narrowest(values.size, INDPTR_DTYPES))
        indptr[1:] = ends
        components = {"indptr": indptr, "gaps": gaps.astype(gap_dtype), "values": values.view(stats.dtype)}
        return Packed(self.name, self.version, stats.shape, stats.dtype, components)

    def check(self, packed: Packed) -> None:
        rows, cols = check_header(self, packed, self.operator_inputs)
        indptr, gaps, values = (packed.components[name] for name in self.operator_inputs)
        require(indptr.dtype in INDPTR_DTYPES, "must be uint16, uint32 or uint64", packed, "indptr")
        require(indptr.shape == (rows + 1,), f"must have rows + 1 = {rows + 1} entries", packed, "indptr")
        require(gaps.dtype in GAP_DTYPES, "must be uint8, uint16 or uint32", packed, "gaps")
        require(gaps.ndim == 1 and values.shape == gaps.shape, "must be as long as gaps", packed, "values")
        require(values.dtype == packed.dtype, f"dtype {values.dtype} is not {packed.dtype}", packed, "values")
        require(int(indptr[0]) == 0, "must start at 0", packed, "indptr")
        require(
            int(indptr[-1]) == gaps.size, f"must end at the {gaps.size} entries there are", packed, "indptr"
        )
        require(bool((indptr[1:] >= indptr[:-1]).all()), "must not decrease", packed, "indptr")
        columns = _last_columns(indptr, gaps)
        require(bool((columns < cols).all()), f"a column is outside the row of {cols}", packed, "gaps")

    def unpack(self, packed: Packed, max_bytes: int = MAX_DENSE_BYTES) -> Array:
        check_header(self, packed, self.operator_inputs, max_bytes)
        self.check(packed)
        rows, cols = matrix_shape(packed.shape)
        indptr, gaps, values = (packed.components[name] for name in self.operator_inputs)
        dense = np.zeros(rows * cols, packed.dtype)
        bits, value_bits = as_bits(dense), as_bits(values)
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
            bits[position] = value_bits[lo:hi]
        return dense.reshape(packed.shape)

    def examples(self) -> Iterator[tuple[str, Array]]:
        yield "plain", np.array([[0, 0, 5], [7, 0, 0]], np.float32)
        yield "special", np.array([[0, -0.0, np.nan], [np.inf, 0, 1e-45]], np.float32)
        wide = np.zeros((2, 700), np.float32)
        wide[0, [0, 1, 300]] = 1, 2, 3
        wide[1, 699] = 4
        yield "fillers", wide
        yield "all-zero", np.zeros((3, 2, 3, 3), np.float16)
        far = np.zeros((1, 40000), np.float32)
        far[0, 39999] = 1
        yield "wide-gap", far


def _sizes(stats: TensorStats) -> dict[np.dtype[np.unsignedinteger], int]:
    """Exact bytes for each gap width."""
    sizes = {}
    for dtype in GAP_DTYPES:
        entries = stats.nnz + stats.fillers(dtype.itemsize * 8)
        pointers = (stats.rows + 1) * narrowest(entries, INDPTR_DTYPES).itemsize
        sizes[dtype] = entries * (dtype.itemsize + stats.dtype.itemsize) + pointers
    return sizes


def _with_fillers(
    gaps: NDArray[np.int64], values: Array, ends: NDArray[np.int64], gap_dtype: np.dtype[np.unsignedinteger]
) -> tuple[NDArray[np.int64], Array, NDArray[np.int64]]:
    """Gaps, values and row ends with a zero-valued filler for every full range that a gap spans."""
    width = gap_dtype.itemsize * 8
    fillers = gaps >> width
    before = np.cumsum(fillers)
    slots = np.arange(gaps.size, dtype=np.int64) + before
    total = int(gaps.size + before[-1])
    filled_gaps = np.full(total, (1 << width) - 1, np.int64)
    filled_gaps[slots] = gaps - (fillers << width)
    filled_values = np.zeros(total, values.dtype)
    filled_values[slots] = values
    counts = np.concatenate([[0], before])
    return filled_gaps, filled_values, ends + counts[ends]


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
    """Ranges of rows of about `BLOCK` entries each, so that the decoder's temporaries stay in the cache."""
    first, rows = 0, ends.size - 1
    while first < rows:
        last = int(np.searchsorted(ends, ends[first] + BLOCK, side="right")) - 1
        last = min(max(last, first + 1), rows)
        yield first, last
        first = last
