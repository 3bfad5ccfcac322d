"""`palette`: few distinct non-zeros at gapped positions; for weights pruned and clustered."""

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
from .codebook import check_planes, few_distinct, index_of, lookup
from .parts import bits, flat_gaps


def _decode(parts: int) -> str:
    return flat_gaps.decode(parts) + lookup() + "        entries = Slice (looked_up, zero1, count)\n"


class Palette(Format):
    """The positions of `tight` and, for each non-zero, an index into a table of the distinct values.

    Components: ``gaps`` as in `tight`; ``indices`` uint8 [width, ceil(nnz / 8)] and
    ``table`` as in `codebook`.

    Examples
    --------
    >>> packed = Palette().pack(np.array([[0, 0, 2], [3, 0, 2]], np.float32))
    >>> packed.components["indices"].tolist(), packed.components["table"].tolist()
    ([[2]], [2.0, 3.0])
    """

    name = "palette"
    summary = "gaps of 2 to 8 bits and up to 256 distinct non-zeros: pruned and clustered"
    operator = "Palette"
    operator_inputs = ("gaps", "indices", "table")
    operator_entries = True
    operator_decode = _decode(1)

    def operator_text(self, parts: int) -> str:
        return _decode(parts)

    def operator_parts(self, packed: Packed) -> int:
        return flat_gaps.parts(packed)

    def applies_to(self, stats: TensorStats) -> bool:
        return _table(stats) is not None

    def nbytes(self, stats: TensorStats) -> int:
        table = _table(stats)
        assert table is not None, "nbytes of a tensor that palette does not apply to"
        planes = bits.index_width(table.size) * bits.row_bytes(stats.nnz)
        return flat_gaps.nbytes(stats) + planes + int(table.nbytes)

    def pack(self, array: Array, stats: TensorStats | None = None) -> Packed:
        stats = stats or TensorStats(array)
        table = _table(stats)
        if table is None:
            raise UnsupportedError("palette: the tensor has no non-zeros or over 256 distinct ones")
        index = index_of(stats.bits[stats.positions], table)
        planes = bits.pack_planes(index, bits.index_width(table.size))
        components = {"gaps": flat_gaps.encode(stats), "indices": planes, "table": table.view(stats.dtype)}
        return Packed(self.name, self.version, stats.shape, stats.dtype, components)

    def check(self, packed: Packed) -> None:
        rows, cols = check_header(self, packed, self.operator_inputs)
        entries = flat_gaps.positions(packed, rows * cols).size
        require(entries > 0, "must have entries", packed, "gaps")
        check_planes(packed, entries)

    def unpack(self, packed: Packed, max_bytes: int = MAX_DENSE_BYTES) -> Array:
        rows, cols = check_header(self, packed, self.operator_inputs, max_bytes)
        self.check(packed)
        position = flat_gaps.positions(packed, rows * cols)
        planes, table = packed.components["indices"], packed.components["table"]
        dense = np.zeros(rows * cols, packed.dtype)
        as_bits(dense)[position] = as_bits(table)[bits.unpack_planes(planes, position.size)]
        return dense.reshape(packed.shape)

    def examples(self) -> Iterator[tuple[str, Array]]:
        yield "plain", np.array([[0, 0, 2], [3, 0, 2]], np.float32)
        wide = np.zeros((2, 700), np.float32)
        wide[:, [3, 699]] = [[0.5, -0.5], [-0.0, 0.5]]
        yield "escapes", wide
        yield "half", np.array([[0, 1, 0, -1], [0, 0, 0, 4]], np.float16)


def _table(stats: TensorStats) -> Array | None:
    """The distinct non-zero patterns, ascending; None if there are none or over 256."""
    if "palette" not in stats.memo:
        stats.memo["palette"] = few_distinct(stats.bits[stats.positions])
    table: Array | None = stats.memo["palette"]
    return table
