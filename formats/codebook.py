"""`codebook`: few distinct values, each weight an index of 1 to 8 bits into their table."""

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
    require,
)
from .parts import bits


def lookup() -> str:
    """ONNX text: float `looked_up` [8 b], from `table` by the bit planes `indices`; padding included.

    `bits.BIT_TABLE` stands before it.
    """
    return (
        bits.UNPACK_PLANES.format(source="indices", target="index")
        + """
        table_f = Cast <to = 1> (table)
        looked_up = GatherElements <axis = 0> (table_f, index)
"""
    )


class Codebook(Format):
    """A table of the distinct values, and every element's index into it as bit planes.

    Components: ``indices`` uint8 [width, ceil(size / 8)]: plane b holds bit b of every index, element i at
    bit i % 8 (least significant first) of byte i // 8, padding bits zero; ``table`` of the tensor's dtype
    [k], 1 <= k <= 256, ascending as unsigned integers, without duplicates; width = bits of k - 1, at
    least 1.

    Examples
    --------
    >>> packed = Codebook().pack(np.array([1.5, 0, 1.5, 2], np.float32))
    >>> packed.components["indices"].tolist(), packed.components["table"].tolist()
    ([[5], [8]], [0.0, 1.5, 2.0])
    """

    name = "codebook"
    summary = "up to 256 distinct values: 1 to 8 bits a weight and their table"
    operator = "Codebook"
    operator_inputs = ("indices", "table")
    operator_decode = (
        bits.BIT_TABLE
        + bits.UNPACK_PLANES.format(source="indices", target="index")
        + """
        index_cut = Slice (index, zero1, size)
        table_f = Cast <to = 1> (table)
        table_size = Shape (table)
        table_later = Mul (table_size, later1)
        table_late = Reshape (table_f, table_later)
        line = GatherElements <axis = 0> (table_late, index_cut)
        matrix_shape = Concat <axis = 0> (rows, cols)
        matrix = Reshape (line, matrix_shape)
        dense = Mul (matrix, row_scale)
    """
    )

    def applies_to(self, stats: TensorStats) -> bool:
        return distinct(stats) is not None

    def nbytes(self, stats: TensorStats) -> int:
        table = distinct(stats)
        assert table is not None, "nbytes of a tensor that codebook does not apply to"
        return bits.index_width(table.size) * bits.row_bytes(stats.size) + int(table.nbytes)

    def pack(self, array: Array, stats: TensorStats | None = None) -> Packed:
        stats = stats or TensorStats(array)
        table = distinct(stats)
        if table is None:
            raise UnsupportedError("codebook: the tensor has no element or more than 256 distinct values")
        planes = bits.pack_planes(index_of(stats.bits, table), bits.index_width(table.size))
        components = {"indices": planes, "table": table.view(stats.dtype)}
        return Packed(self.name, self.version, stats.shape, stats.dtype, components)

    def check(self, packed: Packed) -> None:
        rows, cols = check_header(self, packed, self.operator_inputs)
        require(rows * cols > 0, "an empty tensor has no codebook", packed)
        check_planes(packed, rows * cols)

    def unpack(self, packed: Packed, max_bytes: int = MAX_DENSE_BYTES) -> Array:
        rows, cols = check_header(self, packed, self.operator_inputs, max_bytes)
        self.check(packed)
        indices, table = (packed.components[name] for name in self.operator_inputs)
        dense = as_bits(table)[bits.unpack_planes(indices, rows * cols)]
        return dense.view(packed.dtype).reshape(packed.shape)

    def examples(self) -> Iterator[tuple[str, Array]]:
        yield "plain", np.array([[1.5, 0, 1.5], [2, -0.0, 2]], np.float32)
        yield "one-value", np.full((3, 3), 7, np.int16)
        yield "nine-bit-table", np.arange(256, dtype=np.uint8).reshape(2, 128)
        yield "nan", np.array([np.nan, np.inf, 1], np.float16)


def distinct(stats: TensorStats) -> Array | None:
    """The distinct bit patterns, ascending unsigned integers, or None if there are none or over 256."""
    if "distinct" not in stats.memo:
        stats.memo["distinct"] = few_distinct(stats.bits)
    found: Array | None = stats.memo["distinct"]
    return found


def few_distinct(patterns: Array) -> Array | None:
    """The distinct values of an unsigned vector, ascending, or None if there are none or over 256."""
    found = np.unique(patterns[:1024])
    step = 1 << 20
    for start in range(1024, patterns.size, step):
        if found.size > 256:
            return None
        found = np.union1d(found, patterns[start : start + step])
    return found if 0 < found.size <= 256 else None


def index_of(patterns: Array, table: Array) -> NDArray[np.uint8]:
    """Index into the ascending `table` of every pattern, all of which it holds."""
    if patterns.dtype.itemsize == 1:
        lookup = np.zeros(256, np.uint8)
        lookup[table] = np.arange(table.size, dtype=np.uint8)
        found: NDArray[np.uint8] = lookup[patterns]
        return found
    return np.searchsorted(table, patterns).astype(np.uint8)


def check_planes(packed: Packed, count: int) -> None:
    """Prove that `indices` holds `count` indices into `table`, both as `codebook` lays them out."""
    planes, table = packed.components["indices"], packed.components["table"]
    require(table.dtype == packed.dtype, f"dtype {table.dtype} is not {packed.dtype}", packed, "table")
    require(table.ndim == 1 and 0 < table.size <= 256, "must have 1 to 256 entries", packed, "table")
    patterns = as_bits(table)
    require(bool((patterns[1:] > patterns[:-1]).all()), "must ascend without duplicates", packed, "table")
    shape = (bits.index_width(table.size), bits.row_bytes(count))
    require(planes.dtype == np.uint8, "must be uint8", packed, "indices")
    require(planes.shape == shape, f"must have shape {list(shape)}", packed, "indices")
    require(bits.padding_is_zero(planes, count), "padding bits must be zero", packed, "indices")
    if table.size < 1 << shape[0]:
        highest = 0
        for start in range(0, shape[1], 1 << 17):
            part = planes[:, start : start + (1 << 17)]
            highest = max(highest, int(bits.unpack_planes(part, part.shape[1] * 8).max(initial=0)))
        require(
            highest < table.size, f"index {highest} is outside the table of {table.size}", packed, "indices"
        )
