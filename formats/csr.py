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

from ..errors import UnsupportedError
from .base import (
    MAX_DENSE_BYTES,
    Array,
    Format,
    Packed,
    TensorStats,
    as_bits,
    check_header,
    require,
)
from .parts import row_gaps


class Csr(Format):
    """Row pointers, gaps and values of the non-zeros.

    Components: ``indptr`` uint16/32/64 [rows + 1], ``gaps`` uint8/16/32 [entries], ``values`` of the
    tensor's dtype [entries]. ``entries`` counts non-zeros and fillers. The column of an entry is the
    column of its predecessor in the row (-1 at the row's start) + 1 + gap. A filler's value is +0.0.

    Examples
    --------
    >>> packed = Csr().pack(np.array([[0, 0, 5], [7, 0, 0]], np.float32))
    >>> packed.components["gaps"].tolist(), packed.components["indptr"].tolist()
    ([2, 0], [0, 1, 2])
    """

    name = "csr"
    summary = "non-zeros with 8/16/32-bit in-row gaps; any pattern, density below about 0.8"
    operator = "Sparse"
    kernels = ("cpu",)
    precedence = 1
    operator_inputs = ("indptr", "gaps", "values")
    operator_entries = True
    operator_decode = (
        row_gaps.POSITIONS_DECODE.format(rows="rows", cols="cols_i", position="position", out="csr")
        + "        entries = Cast <to = 1> (values)\n"
    )

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
        indptr, steps, slots = row_gaps.encode(stats, row_gaps.smallest(_sizes(stats)))
        values = row_gaps.spread(stats.bits[stats.positions], slots, steps.size)
        components = {"indptr": indptr, "gaps": steps, "values": values.view(stats.dtype)}
        return Packed(self.name, self.version, stats.shape, stats.dtype, components)

    def check(self, packed: Packed) -> None:
        rows, cols = check_header(self, packed, self.operator_inputs)
        steps, values = packed.components["gaps"], packed.components["values"]
        require(values.shape == steps.shape, "must be as long as gaps", packed, "values")
        require(values.dtype == packed.dtype, f"dtype {values.dtype} is not {packed.dtype}", packed, "values")
        row_gaps.check(packed, rows, cols)

    def unpack(self, packed: Packed, max_bytes: int = MAX_DENSE_BYTES) -> Array:
        rows, cols = check_header(self, packed, self.operator_inputs, max_bytes)
        self.check(packed)
        indptr, steps, values = (packed.components[name] for name in self.operator_inputs)
        dense = np.zeros(rows * cols, packed.dtype)
        bits, value_bits = as_bits(dense), as_bits(values)
        for lo, hi, position in row_gaps.walk(indptr, steps, cols):
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
    return row_gaps.sizes(stats, lambda entries: entries * stats.dtype.itemsize)
