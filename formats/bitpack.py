"""`bitpack`: weights that take two values, +alpha and -alpha, at one bit each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

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
from .parts import bits

#: ONNX text: `dense` of the sign bits `bits`, in the order in which they lie.
SIGNS_DECODE = (
    bits.BIT_TABLE
    + bits.UNPACK_BITS.format(source="bits", target="signs")
    + """
        axis1 = Constant <value_ints = [1]> ()
        signs_cut = Slice (signs, zero1, cols, axis1)
        is_negative = Cast <to = 9> (signs_cut)
        minus_scale = Neg (row_scale)
        dense = Where (is_negative, minus_scale, row_scale)
    """
)


class Bitpack(Format):
    """Sign bits row by row, and the magnitude alpha of the tensor or of every row.

    Components: ``bits`` uint8 [rows, ceil(cols / 8)]: bit i of a row (least significant first) is the
    sign bit of weight i, 1 = negative, padding bits zero; ``scales`` of the tensor's dtype, [1] where all
    rows share one alpha, otherwise [rows]; finite and positive. Detection is exact: every weight of a
    row has the same magnitude bits.

    In ONNX the operator takes ``bits`` only; alpha goes into its `scale` input, so what is read there are the
    signs, with an alpha of 1. Where a layer takes the signs of its activations, `signbits` holds them.

    Examples
    --------
    >>> packed = Bitpack().pack(np.array([[0.5, -0.5, 0.5], [-2, -2, 2]], np.float32))
    >>> packed.components["bits"].tolist(), packed.components["scales"].tolist()
    ([[2], [3]], [0.5, 2.0])
    """

    name = "bitpack"
    summary = "binarized weights (+alpha, -alpha): 1 bit each and the alphas"
    operator = "BinaryWeight"
    sign_format = "signbits"
    kernels = ("cpu",)
    precedence = 0
    operator_inputs = ("bits",)
    scale_component = "scales"
    operator_decode = SIGNS_DECODE

    def applies_to(self, stats: TensorStats) -> bool:
        return find_scales(stats, allow_zeros=False) is not None

    def nbytes(self, stats: TensorStats) -> int:
        scales = find_scales(stats, allow_zeros=False)
        assert scales is not None, "nbytes of a tensor that bitpack does not apply to"
        return stats.rows * bits.row_bytes(stats.cols) + int(scales.nbytes)

    def pack(self, array: Array, stats: TensorStats | None = None) -> Packed:
        stats = stats or TensorStats(array)
        scales = find_scales(stats, allow_zeros=False)
        if scales is None:
            raise UnsupportedError("bitpack: weights are not +alpha and -alpha of each output channel")
        negative = stats.bits.reshape(stats.rows, stats.cols) >= sign_bit(stats.dtype)
        components = {"bits": bits.pack_rows(negative), "scales": scales}
        return Packed(self.name, self.version, stats.shape, stats.dtype, components)

    def check(self, packed: Packed) -> None:
        rows, cols = check_header(self, packed, ("bits", "scales"))
        signs = packed.components["bits"]
        length = bits.row_bytes(cols)
        require(signs.dtype == np.uint8, "must be uint8", packed, "bits")
        require(signs.shape == (rows, length), f"must have shape [{rows}, {length}]", packed, "bits")
        require(bits.padding_is_zero(signs, cols), "padding bits must be zero", packed, "bits")
        check_scales(packed, rows)

    def unpack(self, packed: Packed, max_bytes: int = MAX_DENSE_BYTES) -> Array:
        _, cols = check_header(self, packed, ("bits", "scales"), max_bytes)
        self.check(packed)
        negative = bits.unpack_rows(packed.components["bits"], cols)
        sign = negative.astype(f"u{packed.dtype.itemsize}") << np.uint8(packed.dtype.itemsize * 8 - 1)
        dense = sign | as_bits(packed.components["scales"])[:, None]
        return dense.view(packed.dtype).reshape(packed.shape)

    def from_operator(self, components: Mapping[str, Array], attributes: Mapping[str, Any]) -> Packed:
        """Alpha is folded into the node's scale: what is left are the signs."""
        return super().from_operator({**components, "scales": np.ones(1, np.float32)}, attributes)

    def examples(self) -> Iterator[tuple[str, Array]]:
        yield "per-tensor", np.array([[0.5, -0.5, 0.5], [-0.5, -0.5, 0.5]], np.float32)
        signs = np.where(np.arange(3 * 18) % 5 < 2, -1, 1).reshape(3, 2, 3, 3)
        yield "per-channel", (signs * np.array([0.25, 1, 3]).reshape(3, 1, 1, 1)).astype(np.float32)
        yield "half", np.array([[1, -1, 1, 1, -1, 1, 1, 1, -1]], np.float16)


def sign_bit(dtype: np.dtype[Any]) -> np.unsignedinteger:
    """The sign bit of a float dtype, in an unsigned integer of its width."""
    result: np.unsignedinteger = np.dtype(f"u{dtype.itemsize}").type(1 << (dtype.itemsize * 8 - 1))
    return result


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether the top bit of the dtype is a sign and the rest a magnitude (bfloat16 included)."""
    return dtype.kind == "f" or (dtype.kind == "V" and dtype.names is None and "float" in dtype.name)


def find_scales(stats: TensorStats, *, allow_zeros: bool) -> Array | None:
    """Alphas ([1] or [rows], in the tensor's dtype) if every row holds only +-alpha (and +0.0); else None."""
    key = f"scales, zeros {allow_zeros}"
    if key not in stats.memo:
        stats.memo[key] = _find_scales(stats, allow_zeros)
    found: Array | None = stats.memo[key]
    return found


def _find_scales(stats: TensorStats, allow_zeros: bool) -> Array | None:
    if not stats.size or not is_float(stats.dtype):
        return None
    matrix = stats.bits.reshape(stats.rows, stats.cols)
    # Most tensors fail at their first few columns: ask those before looking at everything.
    for part in (matrix[:, :16], matrix):
        magnitude = part & ~sign_bit(stats.dtype)
        alphas = magnitude.max(axis=1)
        fits = (magnitude == alphas[:, None]) & (magnitude != 0)
        if allow_zeros:
            fits |= part == 0
        if not fits.all():
            return None
    if allow_zeros:
        alphas[alphas == 0] = np.ones(1, stats.dtype).view(alphas.dtype)[0]
    scales = alphas.view(stats.dtype)
    if not _usable(scales):
        return None
    shared: Array = scales[:1].copy() if (alphas == alphas[0]).all() else scales
    return shared


def _usable(scales: Array) -> bool:
    """Whether every alpha is finite and positive."""
    with np.errstate(invalid="ignore"):  # comparing a signalling NaN raises the flag
        return bool((np.isfinite(scales) & (scales > 0)).all())


def check_scales(packed: Packed, rows: int) -> None:
    """Prove that `scales` holds one positive, finite alpha for the tensor or for every row."""
    scales = packed.components["scales"]
    require(is_float(packed.dtype), f"dtype {packed.dtype} has no sign bit", packed)
    require(scales.dtype == packed.dtype, f"dtype {scales.dtype} is not {packed.dtype}", packed, "scales")
    require(scales.shape in ((1,), (rows,)), f"must have 1 or {rows} entries", packed, "scales")
    require(_usable(scales), "must be finite and positive", packed, "scales")
