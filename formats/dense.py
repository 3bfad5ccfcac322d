"""`dense`: every element as it is. What everything else must beat."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .base import MAX_DENSE_BYTES, Array, Format, Packed, TensorStats, check_header, require


class Dense(Format):
    """All elements in row-major order.

    Examples
    --------
    >>> fmt = Dense()
    >>> fmt.pack(np.array([[0.0, 2.0]], np.float32)).nbytes
    8
    """

    name = "dense"
    summary = "every element as it is; wins above the break-even density"

    def applies_to(self, stats: TensorStats) -> bool:
        return True

    def nbytes(self, stats: TensorStats) -> int:
        return stats.nbytes

    def pack(self, array: Array, stats: TensorStats | None = None) -> Packed:
        values = np.ascontiguousarray(array).reshape(-1)
        return Packed(self.name, self.version, tuple(array.shape), array.dtype, {"values": values})

    def check(self, packed: Packed) -> None:
        rows, cols = check_header(self, packed, ("values",))
        values = packed.components["values"]
        require(
            values.ndim == 1 and values.size == rows * cols,
            "must hold exactly one value an element",
            packed,
            "values",
        )
        require(values.dtype == packed.dtype, f"dtype {values.dtype} is not {packed.dtype}", packed, "values")

    def unpack(self, packed: Packed, max_bytes: int = MAX_DENSE_BYTES) -> Array:
        check_header(self, packed, ("values",), max_bytes)
        self.check(packed)
        return packed.components["values"].reshape(packed.shape)

    def examples(self) -> Iterator[tuple[str, Array]]:
        yield "vector", np.array([1.0, -0.0, 3.0], np.float32)
        yield "scalar", np.array(7, np.int64)
        yield "empty", np.zeros((0, 3), np.float16)
