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

#: ONNX text: int64 `position` of every bit set in `mask`.
POSITIONS_OF_MASK = (
    """
        mask_shape = Constant <value_ints = [1, -1]> ()
        mask_row = Reshape (mask, mask_shape)
"""
    + bits.UNPACK_BITS.format(source="mask_row", target="flags")
    + """
        minus1 = Constant <value_ints = [-1]> ()
        flags_flat = Reshape (flags, minus1)
        flags_bool = Cast <to = 9> (flags_flat)
        mask_bits = Shape (flags_flat)
        flags_count = Squeeze (mask_bits)
        flags_zero = Constant <value = int64 {0}> ()
        flags_one = Constant <value = int64 {1}> ()
        places = Range (flags_zero, flags_count, flags_one)
"""
    + bits.COMPACT.format(flags="flags_bool", items="places", target="position")
)


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
    operator_decode = (
        POSITIONS_OF_MASK
        + "        values_f = Cast <to = 1> (values)\n"
        + bits.PLACE.format(values="values_f")
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
