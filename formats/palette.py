"""`palette`: few distinct non-zeros at gapped positions; pruned and clustered, or pruned and binarized."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..errors import UnsupportedError
from . import bits, gaps
from .base import MAX_DENSE_BYTES, Array, Format, Packed, TensorStats, as_bits, check_header, require
from .codebook import LOOKUP, check_planes, few_distinct, index_of


class Palette(Format):
    """The positions of `csr` and, for each entry, an index into a table of the distinct values.

    Components: ``indptr`` and ``gaps`` as in `csr`; ``indices`` uint8 [width, ceil(entries / 8)] and
    ``table`` as in `codebook`. Fillers index a zero, which is then in the table.

    With weights of 0 and +-alpha an index is a sign: 9 bits a non-zero.

    Examples
    --------
    >>> packed = Palette().pack(np.array([[0, 0, 2], [3, 0, 2]], np.float32))
    >>> packed.components["gaps"].tolist(), packed.components["indices"].tolist()
    ([2, 0, 1], [[2]])
    """

    name = "palette"
    summary = "in-row gaps and up to 256 distinct non-zeros: pruned and clustered or binarized"
    operator = "Palette"
    operator_inputs = ("indptr", "gaps", "indices", "table")
    operator_decode = (
        gaps.POSITIONS_DECODE
        + "        entry_count = Shape (gaps)\n"
        + LOOKUP.replace("        minus1 = Constant <value_ints = [-1]> ()\n", "").replace(
            "{count}", "entry_count"
        )
        + """
        empty = ConstantOfShape <value = float[1] {0.0}> (size)
        dense = ScatterElements (empty, position, entries)
    """
    )

    def applies_to(self, stats: TensorStats) -> bool:
        return 0 < stats.cols <= np.iinfo(np.uint32).max and stats.rows > 0 and _table(stats) is not None

    def nbytes(self, stats: TensorStats) -> int:
        return min(_sizes(stats).values())

    def pack(self, array: Array, stats: TensorStats | None = None) -> Packed:
        stats = stats or TensorStats(array)
        if not self.applies_to(stats):
            raise UnsupportedError("palette: the tensor has no non-zeros or over 256 distinct ones")
        indptr, steps, slots = gaps.encode(stats, gaps.smallest(_sizes(stats)))
        patterns = gaps.spread(stats.bits[stats.positions], slots, steps.size)
        table = _with_filler(stats, steps.size)
        planes = bits.pack_planes(index_of(patterns, table), bits.index_width(table.size))
        components = {"indptr": indptr, "gaps": steps, "indices": planes, "table": table.view(stats.dtype)}
        return Packed(self.name, self.version, stats.shape, stats.dtype, components)

    def check(self, packed: Packed) -> None:
        rows, cols = check_header(self, packed, self.operator_inputs)
        gaps.check(packed, rows, cols)
        entries = packed.components["gaps"].size
        require(entries > 0, "must have entries", packed, "gaps")
        check_planes(packed, entries)

    def unpack(self, packed: Packed, max_bytes: int = MAX_DENSE_BYTES) -> Array:
        rows, cols = check_header(self, packed, self.operator_inputs, max_bytes)
        self.check(packed)
        indptr, steps, planes, table = (packed.components[name] for name in self.operator_inputs)
        values = as_bits(table)[bits.unpack_planes(planes, steps.size)]
        dense = np.zeros(rows * cols, packed.dtype)
        patterns = as_bits(dense)
        for lo, hi, position in gaps.walk(indptr, steps, cols):
            patterns[position] = values[lo:hi]
        return dense.reshape(packed.shape)

    def examples(self) -> Iterator[tuple[str, Array]]:
        yield "plain", np.array([[0, 0, 2], [3, 0, 2]], np.float32)
        wide = np.zeros((2, 700), np.float32)
        wide[:, [3, 699]] = [[0.5, -0.5], [-0.0, 0.5]]
        yield "fillers", wide
        yield "half", np.array([[0, 1, 0, -1], [0, 0, 0, 4]], np.float16)


def _table(stats: TensorStats) -> Array | None:
    """The distinct non-zero patterns, ascending; None if there are none or over 255."""
    if "palette" not in stats.memo:
        found = few_distinct(stats.bits[stats.positions])
        stats.memo["palette"] = found if found is not None and found.size < 256 else None
    table: Array | None = stats.memo["palette"]
    return table


def _with_filler(stats: TensorStats, entries: int) -> Array:
    """The table, with zero in front where there are more entries than non-zeros."""
    table = _table(stats)
    assert table is not None, "size of a tensor that palette does not apply to"
    return table if entries == stats.nnz else np.concatenate([np.zeros(1, table.dtype), table])


def _sizes(stats: TensorStats) -> dict[np.dtype[np.unsignedinteger], int]:
    """Exact bytes for each gap width."""

    def payload(entries: int) -> int:
        table = _with_filler(stats, entries)
        return bits.index_width(table.size) * bits.row_bytes(entries) + int(table.nbytes)

    return gaps.sizes(stats, payload)
