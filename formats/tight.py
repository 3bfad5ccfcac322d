"""`tight`: gaps of 2 to 8 bits and the values as they are."""

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
from .parts import flat_gaps


def _decode(parts: int) -> str:
    return flat_gaps.decode(parts) + "        entries = Cast <to = 1> (values)\n"


class Tight(Format):
    """Positions in as many bits as their density asks for, and the non-zeros.

    Components: ``gaps`` uint8 [width, ceil(codes / 8)], bit planes of gaps over the flat tensor (see
    `formats.narrow`); ``values`` of the tensor's dtype [nnz]. For fp16 and int8 values, where the byte a gap
    takes in `csr` is a third or half of everything. There is no kernel: stock onnxruntime runs it.

    Examples
    --------
    >>> packed = Tight().pack(np.array([[0, 0, 5], [7, 0, 0]], np.float32))
    >>> packed.components["gaps"].tolist(), packed.components["values"].tolist()
    ([[252], [253]], [5.0, 7.0])
    """

    name = "tight"
    summary = "non-zeros with gaps of 2 to 8 bits; the smallest for fp16 and int8 values"
    operator = "Tight"
    operator_inputs = ("gaps", "values")
    operator_entries = True
    operator_decode = _decode(1)

    def operator_text(self, parts: int) -> str:
        return _decode(parts)

    def operator_parts(self, packed: Packed) -> int:
        return flat_gaps.parts(packed)

    def applies_to(self, stats: TensorStats) -> bool:
        return True

    def nbytes(self, stats: TensorStats) -> int:
        return flat_gaps.nbytes(stats) + stats.nnz * stats.dtype.itemsize

    def pack(self, array: Array, stats: TensorStats | None = None) -> Packed:
        stats = stats or TensorStats(array)
        values = stats.bits[stats.positions].view(stats.dtype)
        components = {"gaps": flat_gaps.encode(stats), "values": values}
        return Packed(self.name, self.version, stats.shape, stats.dtype, components)

    def check(self, packed: Packed) -> None:
        rows, cols = check_header(self, packed, self.operator_inputs)
        values = packed.components["values"]
        require(values.dtype == packed.dtype, f"dtype {values.dtype} is not {packed.dtype}", packed, "values")
        found = flat_gaps.positions(packed, rows * cols).size
        require(values.shape == (found,), f"must hold the {found} values of gaps", packed, "values")

    def unpack(self, packed: Packed, max_bytes: int = MAX_DENSE_BYTES) -> Array:
        rows, cols = check_header(self, packed, self.operator_inputs, max_bytes)
        self.check(packed)
        dense = np.zeros(rows * cols, packed.dtype)
        as_bits(dense)[flat_gaps.positions(packed, rows * cols)] = as_bits(packed.components["values"])
        return dense.reshape(packed.shape)

    def examples(self) -> Iterator[tuple[str, Array]]:
        yield "plain", np.array([[0, 0, 5], [7, 0, 0]], np.float32)
        yield "special", np.array([[0, -0.0, np.nan], [np.inf, 0, 1e-45]], np.float32)
        far = np.zeros((2, 700), np.int8)
        far[0, 3], far[1, 699] = -128, 127
        yield "escapes", far
        yield "all-zero", np.zeros((3, 3), np.float16)
