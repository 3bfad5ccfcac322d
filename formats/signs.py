"""`signmask` and `signgaps`: pruned and binarized weights (0, +alpha, -alpha), one sign bit a non-zero.

Between them and `ternary` the density decides: gaps and signs below 0.4, a mask and signs up to 0.6, five
trits a byte above.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..errors import UnsupportedError
from . import bitmask
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
from .parts import bits, flat_gaps

#: ONNX text behind `bits.BIT_TABLE`: float `plus_minus` [8 b]: +1 or -1 as the bits of `signs` say, padding
#: included.
PLUS_MINUS = (
    """
        sign_shape = Constant <value_ints = [1, -1]> ()
        sign_row = Reshape (signs, sign_shape)
"""
    + bits.UNPACK_BITS.format(source="sign_row", target="sign_bits")
    + """
        sign_flags = Cast <to = 9> (sign_bits)
        sign_flat = Squeeze (sign_flags, zero1)
        sign_minus = Constant <value = float {-1.0}> ()
        sign_plus = Constant <value = float {1.0}> ()
        plus_minus = Where (sign_flat, sign_minus, sign_plus)
"""
)


class Signmask(Format):
    """A bit for every element, a sign bit for every non-zero, and alpha of the tensor or of every row.

    Components: ``mask`` as in `bitmask`; ``signs`` uint8 [ceil(nnz / 8)], 1 = negative,
    least significant bit first, padding zero; ``scales`` as in `ternary`.

    Examples
    --------
    >>> packed = Signmask().pack(np.array([[0.5, 0, -0.5]], np.float32))
    >>> [part.tolist() for part in packed.components.values()]
    [[5], [2], [0.5]]
    """

    name = "signmask"
    summary = "weights 0, +alpha, -alpha: a bit each and a sign bit a non-zero; density 0.4 to 0.6"
    operator = "SignMask"
    operator_inputs = ("mask", "signs")
    scale_component = "scales"
    operator_entries = True
    operator_decode = (
        bitmask.positions() + PLUS_MINUS + "        entries = Slice (plus_minus, zero1, count)\n"
    )

    def applies_to(self, stats: TensorStats) -> bool:
        return find_scales(stats, allow_zeros=True) is not None

    def nbytes(self, stats: TensorStats) -> int:
        return bits.row_bytes(stats.size) + bits.row_bytes(stats.nnz) + int(_scales(stats, self.name).nbytes)

    def pack(self, array: Array, stats: TensorStats | None = None) -> Packed:
        stats = stats or TensorStats(array)
        scales = _scales(stats, self.name)
        components = {
            "mask": bits.pack_rows(stats.bits != 0),
            "signs": bits.pack_rows(stats.bits[stats.positions] >= sign_bit(stats.dtype)),
            "scales": scales,
        }
        return Packed(self.name, self.version, stats.shape, stats.dtype, components)

    def check(self, packed: Packed) -> None:
        rows, cols = check_header(self, packed, ("mask", "signs", "scales"))
        _check_signs(packed, bitmask.check_mask(packed, rows * cols), rows)

    def unpack(self, packed: Packed, max_bytes: int = MAX_DENSE_BYTES) -> Array:
        rows, cols = check_header(self, packed, ("mask", "signs", "scales"), max_bytes)
        self.check(packed)
        flags = bits.unpack_rows(packed.components["mask"], rows * cols)
        return _place(packed, np.flatnonzero(flags), rows, cols)

    def examples(self) -> Iterator[tuple[str, Array]]:
        yield from _examples()


def _decode(parts: int) -> str:
    """ONNX text of `signgaps`, positions in so many parts."""
    return flat_gaps.decode(parts) + PLUS_MINUS + "        entries = Slice (plus_minus, zero1, count)\n"


class Signgaps(Format):
    """Gaps of 2 to 8 bits, a sign bit for every non-zero, and alpha of the tensor or of every row.

    Components: ``gaps`` as in `tight`; ``signs`` and ``scales`` as in `signmask`.

    Examples
    --------
    >>> packed = Signgaps().pack(np.array([[0, 0, -0.5]], np.float32))
    >>> [part.tolist() for part in packed.components.values()]
    [[[254], [255]], [1], [0.5]]
    """

    name = "signgaps"
    summary = "weights 0, +alpha, -alpha: gaps of 2 to 8 bits and sign bits; density below 0.4"
    operator = "SignGaps"
    operator_inputs = ("gaps", "signs")
    scale_component = "scales"
    operator_entries = True
    operator_decode = _decode(1)

    def operator_text(self, parts: int) -> str:
        return _decode(parts)

    def operator_parts(self, packed: Packed) -> int:
        return flat_gaps.parts(packed)

    def applies_to(self, stats: TensorStats) -> bool:
        return find_scales(stats, allow_zeros=True) is not None

    def nbytes(self, stats: TensorStats) -> int:
        scales = _scales(stats, self.name)
        return flat_gaps.nbytes(stats) + bits.row_bytes(stats.nnz) + int(scales.nbytes)

    def pack(self, array: Array, stats: TensorStats | None = None) -> Packed:
        stats = stats or TensorStats(array)
        scales = _scales(stats, self.name)
        signs = bits.pack_rows(stats.bits[stats.positions] >= sign_bit(stats.dtype))
        components = {"gaps": flat_gaps.encode(stats), "signs": signs, "scales": scales}
        return Packed(self.name, self.version, stats.shape, stats.dtype, components)

    def check(self, packed: Packed) -> None:
        rows, cols = check_header(self, packed, ("gaps", "signs", "scales"))
        _check_signs(packed, flat_gaps.positions(packed, rows * cols).size, rows)

    def unpack(self, packed: Packed, max_bytes: int = MAX_DENSE_BYTES) -> Array:
        rows, cols = check_header(self, packed, ("gaps", "signs", "scales"), max_bytes)
        self.check(packed)
        return _place(packed, flat_gaps.positions(packed, rows * cols), rows, cols)

    def examples(self) -> Iterator[tuple[str, Array]]:
        yield from _examples()


def _scales(stats: TensorStats, name: str) -> Array:
    scales = find_scales(stats, allow_zeros=True)
    if scales is None:
        raise UnsupportedError(f"{name}: weights are not 0, +alpha and -alpha of each output channel")
    return scales


def _check_signs(packed: Packed, count: int, rows: int) -> None:
    """Prove that there are sign bits for `count` non-zeros, and alphas."""
    signs = packed.components["signs"]
    require(signs.dtype == np.uint8, "must be uint8", packed, "signs")
    require(signs.shape == (bits.row_bytes(count),), f"must hold {count} bits", packed, "signs")
    require(bits.padding_is_zero(signs, count), "padding bits must be zero", packed, "signs")
    check_scales(packed, rows)


def _place(packed: Packed, position: NDArray[np.int64], rows: int, cols: int) -> Array:
    """The dense array: +-alpha of its row at every position."""
    alphas = np.broadcast_to(as_bits(packed.components["scales"]), (rows,))
    dense = np.zeros(rows * cols, alphas.dtype)
    negative = bits.unpack_rows(packed.components["signs"], position.size).view(np.bool_)
    values = alphas[position // cols]
    values[negative] |= sign_bit(packed.dtype)
    dense[position] = values
    return dense.view(packed.dtype).reshape(packed.shape)


def _examples() -> Iterator[tuple[str, Array]]:
    yield "per-tensor", np.array([[0.5, 0, -0.5], [0, 0, 0.5]], np.float32)
    far = np.zeros((3, 300), np.float32)
    far[0, 299], far[1, :2], far[2, 7] = -0.25, [1, -1], 3
    yield "per-channel", far
    yield "zero-row", np.array([[0, 0], [2, -2], [4, 0]], np.float16)
