"""`ternary`: weights that are 0, +alpha or -alpha, five to a byte."""

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
from .bitpack import check_scales, find_scales, sign_bit

POWERS = np.array([1, 3, 9, 27, 81], np.uint8)


class Ternary(Format):
    """Base-3 digits row by row, and the magnitude alpha of the tensor or of every row.

    Components: ``trits`` uint8 [rows, ceil(cols / 5)]: digit i of a row is ``byte[i // 5] // 3 ** (i % 5) %
    3``, 0 for +0.0, 1 for +alpha, 2 for -alpha; bytes are at most 242 and padding digits 0; ``scales`` of
    the tensor's dtype, [1] or [rows], finite and positive (1 for a row of zeros). Five digits use 7.92 of
    a byte's 8 bits, so this is 1.6 bits a weight.

    In ONNX the operator takes ``trits`` only; alpha goes into its `scale` input.

    Examples
    --------
    >>> packed = Ternary().pack(np.array([[0.5, 0, -0.5]], np.float32))
    >>> packed.components["trits"].tolist(), packed.components["scales"].tolist()
    ([[19]], [0.5])
    """

    name = "ternary"
    summary = "weights 0, +alpha, -alpha: 5 a byte and the alphas; density above about 0.18"
    operator = "Ternary"
    operator_inputs = ("trits",)
    scale_component = "scales"
    operator_decode = """
        t_zero = Constant <value = int32 {0}> ()
        t_one = Constant <value = int32 {1}> ()
        t_three = Constant <value = int32 {3}> ()
        t_all = Constant <value = int32 {256}> ()
        every_byte = Range (t_zero, t_all, t_one)
        axis1 = Constant <value_ints = [1]> ()
        column = Unsqueeze (every_byte, axis1)
        powers = Constant <value = int32[5] {1, 3, 9, 27, 81}> ()
        shifted = Div (column, powers)
        turned = Add (shifted, t_one)
        digits = Mod (turned, t_three)
        signs = Sub (digits, t_one)
        signs_table = Cast <to = 3> (signs)
        trits_i = Cast <to = 6> (trits)
        cube = Gather <axis = 0> (signs_table, trits_i)
        flat_rows = Constant <value_ints = [0, -1]> ()
        padded = Reshape (cube, flat_rows)
        cut = Slice (padded, zero1, cols, axis1)
        matrix = Cast <to = 1> (cut)
        dense = Mul (matrix, row_scale)
    """

    def applies_to(self, stats: TensorStats) -> bool:
        return find_scales(stats, allow_zeros=True) is not None

    def nbytes(self, stats: TensorStats) -> int:
        scales = find_scales(stats, allow_zeros=True)
        assert scales is not None, "nbytes of a tensor that ternary does not apply to"
        return stats.rows * _row_bytes(stats.cols) + int(scales.nbytes)

    def pack(self, array: Array, stats: TensorStats | None = None) -> Packed:
        stats = stats or TensorStats(array)
        scales = find_scales(stats, allow_zeros=True)
        if scales is None:
            raise UnsupportedError("ternary: weights are not 0, +alpha and -alpha of each output channel")
        matrix = stats.bits.reshape(stats.rows, stats.cols)
        digits = np.zeros((stats.rows, _row_bytes(stats.cols) * 5), np.uint8)
        digits[:, : stats.cols] = (matrix != 0).view(np.uint8) + (matrix >= sign_bit(stats.dtype))
        trits = (digits.reshape(stats.rows, -1, 5) * POWERS).sum(axis=2, dtype=np.uint8)
        components = {"trits": trits, "scales": scales}
        return Packed(self.name, self.version, stats.shape, stats.dtype, components)

    def check(self, packed: Packed) -> None:
        rows, cols = check_header(self, packed, ("trits", "scales"))
        trits = packed.components["trits"]
        length = _row_bytes(cols)
        require(trits.dtype == np.uint8, "must be uint8", packed, "trits")
        require(trits.shape == (rows, length), f"must have shape [{rows}, {length}]", packed, "trits")
        require(int(trits.max(initial=0)) <= 242, "a byte is over 242", packed, "trits")
        if trits.size and cols % 5:
            fits = bool((trits[:, -1] < 3 ** (cols % 5)).all())
            require(fits, "padding digits must be zero", packed, "trits")
        check_scales(packed, rows)

    def unpack(self, packed: Packed, max_bytes: int = MAX_DENSE_BYTES) -> Array:
        _, cols = check_header(self, packed, ("trits", "scales"), max_bytes)
        self.check(packed)
        digits = _digits(packed.components["trits"])[:, :cols]
        alphas = as_bits(packed.components["scales"])[:, None]
        zero = np.zeros((), alphas.dtype)
        sign = sign_bit(packed.dtype)
        dense = np.where(digits == 0, zero, np.where(digits == 2, alphas | sign, alphas))
        return np.ascontiguousarray(dense).view(packed.dtype).reshape(packed.shape)

    def examples(self) -> Iterator[tuple[str, Array]]:
        yield "per-tensor", np.array([[0.5, 0, -0.5], [0, 0, 0.5]], np.float32)
        digits = (np.arange(3 * 7) % 3 - 1).reshape(3, 7)
        yield "per-channel", (digits * np.array([[0.25], [1], [3]])).astype(np.float32)
        yield "zero-row", np.array([[0, 0], [2, -2], [4, 0]], np.float16)


def _row_bytes(cols: int) -> int:
    """Bytes of a row of that many digits."""
    return (cols + 4) // 5


def _digits(trits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Digits of all bytes, [rows, 5 bytes]; a table of 256 entries does the divisions."""
    table = (np.arange(256, dtype=np.uint8)[:, None] // POWERS) % np.uint8(3)
    digits: NDArray[np.uint8] = table[trits].reshape(trits.shape[0], trits.shape[1] * 5)
    return digits
