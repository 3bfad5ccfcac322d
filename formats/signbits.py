"""`signbits`: weights that are +1 or -1, the input channels last, as packed activations lie."""

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
from .bitpack import SIGNS_DECODE, is_float, sign_bit
from .parts import bits


class Signbits(Format):
    """Sign bits row by row, in the order spatial..., channel.

    Components: ``bits`` uint8 [rows, ceil(cols / 8)]: the weight [K, C, ...] is seen as [K, ..., C]; bit i of
    a row (least significant first) is the sign bit of its weight i, 1 = negative, padding bits zero. It is
    what `bitpack` becomes where a layer takes the signs of its activations: a pixel's channels are one run of
    bits on both sides. Alpha is in the operator's `scale` input and no part of the tensor.

    Examples
    --------
    >>> packed = Signbits().pack(np.array([[[1, 1, -1], [1, -1, -1]]], np.float32))
    >>> packed.components["bits"].tolist()
    [[56]]
    """

    name = "signbits"
    summary = "+1 and -1 at 1 bit, channels last; what `bitpack` becomes where a layer takes signs"
    sign_operator = "Xnor"
    kernels = ("cpu",)
    operator_inputs = ("bits",)
    operator_decode = SIGNS_DECODE

    def applies_to(self, stats: TensorStats) -> bool:
        if not stats.size or not is_float(stats.dtype):
            return False
        return bool(((stats.bits & ~sign_bit(stats.dtype)) == _one(stats.dtype)).all())

    def nbytes(self, stats: TensorStats) -> int:
        return stats.rows * bits.row_bytes(stats.cols)

    def pack(self, array: Array, stats: TensorStats | None = None) -> Packed:
        stats = stats or TensorStats(array)
        if not self.applies_to(stats):
            raise UnsupportedError("signbits: weights are not +1 and -1")
        negative = (stats.bits >= sign_bit(stats.dtype)).reshape(stats.shape)
        last = np.moveaxis(negative, 1, -1) if len(stats.shape) > 2 else negative
        components = {"bits": bits.pack_rows(last.reshape(stats.rows, stats.cols))}
        return Packed(self.name, self.version, stats.shape, stats.dtype, components)

    def check(self, packed: Packed) -> None:
        rows, cols = check_header(self, packed, self.operator_inputs)
        signs = packed.components["bits"]
        length = bits.row_bytes(cols)
        require(is_float(packed.dtype), f"dtype {packed.dtype} has no sign bit", packed)
        require(signs.dtype == np.uint8, "must be uint8", packed, "bits")
        require(signs.shape == (rows, length), f"must have shape [{rows}, {length}]", packed, "bits")
        require(bits.padding_is_zero(signs, cols), "padding bits must be zero", packed, "bits")

    def unpack(self, packed: Packed, max_bytes: int = MAX_DENSE_BYTES) -> Array:
        _, cols = check_header(self, packed, self.operator_inputs, max_bytes)
        self.check(packed)
        negative = bits.unpack_rows(packed.components["bits"], cols)
        if len(packed.shape) > 2:
            rows, channels, *window = packed.shape
            negative = np.moveaxis(negative.reshape(rows, *window, channels), -1, 1)
        one = _one(packed.dtype)
        signs = np.where(negative, one | sign_bit(packed.dtype), one)
        return np.ascontiguousarray(signs).view(packed.dtype).reshape(packed.shape)

    def examples(self) -> Iterator[tuple[str, Array]]:
        yield "matrix", np.array([[1, -1, 1], [-1, -1, 1]], np.float32)
        conv = np.where(np.arange(2 * 5 * 2 * 3) % 7 < 3, np.float32(-1), np.float32(1))
        yield "conv", conv.reshape(2, 5, 2, 3)
        yield "half", np.array([[1, -1, -1, 1, 1, 1, 1, -1, -1]], np.float16)


def _one(dtype: np.dtype) -> NDArray[np.unsignedinteger]:
    """The bits of 1 in that dtype, a scalar."""
    one: NDArray[np.unsignedinteger] = as_bits(np.ones((), dtype))
    return one
