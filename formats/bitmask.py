"""`bitmask`: one bit a weight says where the values are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

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

_BYTES = (
    bits.BIT_TABLE
    + """
        bit_axis = Constant <value = int64 {1}> ()
        bit_ranks = CumSum (bit_table_i, bit_axis)
        bit_counts = ReduceSum <keepdims = 0> (bit_table_i, bit_last)
        bit_eight = Constant <value = int32 {8}> ()
        slot_range = Range (bit_from, bit_eight, bit_by)
        bit_is_set = Cast <to = 9> (bit_table_i)
        bit_rank0 = Sub (bit_ranks, bit_by)
        bit_slot = Where (bit_is_set, bit_rank0, bit_eight)
        nine_shape = Constant <value_ints = [256, 9]> ()
        nine_blank = ConstantOfShape <value = int32[1] {0}> (nine_shape)
        eight_shape = Shape (bit_table_i)
        slot_rows = Expand (slot_range, eight_shape)
        nth_set = ScatterElements <axis = 1> (nine_blank, bit_slot, slot_rows)
        nine_flat = Constant <value_ints = [-1]> ()
        nth_set_flat = Reshape (nth_set, nine_flat)
        mask_i = Cast <to = 6> (mask)
        byte_counts = GatherElements <axis = 0> (bit_counts, mask_i)
        byte_ends = CumSum (byte_counts, axis0)
        byte_begins = Sub (byte_ends, byte_counts)
"""
)
_VALUES = """
        value_slots = Add (count, bit_last)
        value_blank = ConstantOfShape <value = int32[1] {0}> (value_slots)
        mask_shape = Shape (mask_i)
        byte_ones = ConstantOfShape <value = int32[1] {1}> (mask_shape)
        byte_marks = ScatterElements <reduction = "add"> (value_blank, byte_ends, byte_ones)
        byte_marked = Slice (byte_marks, zero1, count)
        value_byte = CumSum (byte_marked, axis0)
        count0 = Squeeze (count)
        count_i = Cast <to = 6> (count0)
        value_range = Range (bit_from, count_i, bit_by)
        value_begin = GatherElements <axis = 0> (byte_begins, value_byte)
        value_rank = Sub (value_range, value_begin)
        value_mask = GatherElements <axis = 0> (mask_i, value_byte)
        bit_nine = Constant <value = int32 {9}> ()
        nth_row = Mul (value_mask, bit_nine)
        nth_index = Add (nth_row, value_rank)
        value_bit = GatherElements <axis = 0> (nth_set_flat, nth_index)
        value_start = Mul (value_byte, bit_eight)
        position = Add (value_start, value_bit)
"""
_COUNT = """
        count_sum = ReduceSum <keepdims = 1> (byte_counts)
        count = Cast <to = 7> (count_sum)
"""


def positions(count: str = _COUNT) -> str:
    """ONNX text: int32 `position` [nnz] of the bits set in `mask`, and int64 `count` = [nnz].

    For every value its byte is found by counting up where bytes begin, and its bit by a table: arrays are as
    long as the mask has bytes or values, never as long as it has bits.

    Parameters
    ----------
    count
        ONNX text of `count`, where another component tells it.
    """
    return _BYTES + count + _VALUES


class Bitmask(Format):
    """A bit for every element and the values of the non-zeros, both in row-major order.

    Components: ``mask`` uint8 [ceil(size / 8)], bit i (least significant first) set where element i is a
    non-zero, padding bits zero; ``values`` of the tensor's dtype [nnz]. The mask runs over the whole
    tensor, not row by row: padding every row of a 1x1 convolution is what makes others' bitmasks big.

    Examples
    --------
    >>> packed = Bitmask().pack(np.array([[0, 0, 5], [7, 0, 0]], np.float32))
    >>> packed.components["mask"].tolist(), packed.components["values"].tolist()
    ([12], [5.0, 7.0])
    """

    name = "bitmask"
    summary = "1 bit a weight and the non-zeros; any pattern, density about 0.15 to 0.97"
    operator = "Bitmask"
    operator_inputs = ("mask", "values")
    operator_entries = True
    operator_decode = (
        positions("        count = Shape (values)\n") + "        entries = Cast <to = 1> (values)\n"
    )

    def applies_to(self, stats: TensorStats) -> bool:
        return True

    def nbytes(self, stats: TensorStats) -> int:
        return bits.row_bytes(stats.size) + stats.nnz * stats.dtype.itemsize

    def pack(self, array: Array, stats: TensorStats | None = None) -> Packed:
        stats = stats or TensorStats(array)
        flags = stats.bits != 0
        components = {"mask": bits.pack_rows(flags), "values": stats.bits[flags].view(stats.dtype)}
        return Packed(self.name, self.version, stats.shape, stats.dtype, components)

    def check(self, packed: Packed) -> None:
        rows, cols = check_header(self, packed, self.operator_inputs)
        values = packed.components["values"]
        count = check_mask(packed, rows * cols)
        require(values.dtype == packed.dtype, f"dtype {values.dtype} is not {packed.dtype}", packed, "values")
        require(values.ndim == 1, "must have one dimension", packed, "values")
        require(count == values.size, f"{count} bits set for {values.size} values", packed, "mask")

    def unpack(self, packed: Packed, max_bytes: int = MAX_DENSE_BYTES) -> Array:
        rows, cols = check_header(self, packed, self.operator_inputs, max_bytes)
        self.check(packed)
        flags = bits.unpack_rows(packed.components["mask"], rows * cols).view(np.bool_)
        dense = np.zeros(rows * cols, packed.dtype)
        as_bits(dense)[flags] = as_bits(packed.components["values"])
        return dense.reshape(packed.shape)

    def examples(self) -> Iterator[tuple[str, Array]]:
        yield "plain", np.array([[0, 0, 5], [7, 0, 0]], np.float32)
        yield "special", np.array([[0, -0.0, np.nan], [np.inf, 0, 1e-45]], np.float32)
        yield "half", np.arange(-3, 4, dtype=np.float16).reshape(7, 1)
        yield "all-zero", np.zeros((3, 3), np.float32)
        yield "scalar", np.array(3.0)


def check_mask(packed: Packed, size: int) -> int:
    """Prove that `mask` has a bit for each of `size` elements; return how many are set."""
    mask = packed.components["mask"]
    length = bits.row_bytes(size)
    require(mask.dtype == np.uint8, "must be uint8", packed, "mask")
    require(mask.shape == (length,), f"must have ceil(size / 8) = {length} bytes", packed, "mask")
    require(bits.padding_is_zero(mask, size), "padding bits must be zero", packed, "mask")
    return int(np.bitwise_count(mask).sum(dtype=np.int64))
