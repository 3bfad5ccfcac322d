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
from .base import MAX_DENSE_BYTES, Array, Format, Packed, TensorStats, as_bits, check_header, matrix_shape, require

GAP_DTYPES = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.uint32))
INDPTR_DTYPES = (np.dtype(np.uint16), np.dtype(np.uint32), np.dtype(np.uint64))
_CHUNK = 1 << 20  # elements scanned at a time: the working set stays in the L2 cache


def narrowest(maximum: int, choices: tuple[np.dtype[np.unsignedinteger], ...]) -> np.dtype[np.unsignedinteger]:
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
        return stats.cols <= np.iinfo(np.uint32).max and stats.size > 0

    def nbytes(self, stats: TensorStats) -> int:
        return min(self._sizes(stats).values())

    def _sizes(self, stats: TensorStats) -> dict[np.dtype[np.unsignedinteger], int]:
        """Bytes for each gap width."""
        gaps = _gaps(stats)
        sizes = {}
        for dtype in GAP_DTYPES:
            width = dtype.itemsize * 8
            entries = stats.nnz + (int((gaps >> width).sum()) if gaps.size else 0)
            pointers = (stats.rows + 1) * narrowest(entries, INDPTR_DTYPES).itemsize
            sizes[dtype] = entries * (dtype.itemsize + stats.dtype.itemsize) + pointers
        return sizes
