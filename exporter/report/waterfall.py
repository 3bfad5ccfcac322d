"""Where the bytes are: from the dense file over the theory to what is on disk, and the bound below it all.

The lab's formula for a pruned net is "non-zeros x 32". That is bits, of values alone: 74,151 non-zeros are
2,372,832 bits = 296,604 bytes, and positions come on top.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...formats.base import Array, as_bits
from ..archive.entropy import order0_bits


@dataclass
class Waterfall:
    """Sizes in bytes, each step on top of the one before; None where a step was not measured.

    Attributes
    ----------
    dense
        All tensors as they are.
    values
        The lab's formula: non-zeros x bits a value / 8 for weights, all other tensors dense.
    positions
        Values and positions as the formats store them.
    file
        What is on disk.
    gzip, zstd
        The dense file under `gzip -6` and `zstd -19`.
    bound
        Order-0 entropy: n H(p) for positions at each tensor's density, plane entropies for values.
    """

    dense: int
    values: int
    nonzeros: int
    bound: int
    positions: int | None = None
    file: int | None = None
    gzip: int | None = None
    zstd: int | None = None

    @property
    def over_bound_percent(self) -> float | None:
        """How far the file is over the bound, in per cent of the bound; below 0 if under it."""
        return None if self.file is None or not self.bound else 100 * (self.file / self.bound - 1)

    def to_json(self) -> dict[str, Any]:
        """All steps and the distance to the bound."""
        return asdict(self) | {"over_bound_percent": self.over_bound_percent}

    def rows(self) -> list[tuple[str, int]]:
        """(step, bytes) of what was measured, from the biggest idea to the smallest file."""
        steps = [
            ("dense", self.dense),
            ("gzip -6 of dense", self.gzip),
            ("zstd -19 of dense", self.zstd),
            ("theory: non-zeros x 32 bits", self.values),
            ("+ positions", self.positions),
            ("file on disk", self.file),
            ("order-0 entropy bound", self.bound),
        ]
        return [(name, size) for name, size in steps if size is not None]


@dataclass
class Bound:
    """Order-0 entropy of one tensor in bits, positions and values apart."""

    positions: float = 0.0
    values: float = 0.0
    nonzeros: int = 0

    @property
    def total(self) -> float:
        return self.positions + self.values


def position_bits(nonzeros: int, size: int) -> float:
    """n H(p): what positions of independent non-zeros at that density take, in bits.

    Examples
    --------
    >>> round(position_bits(1000, 10000))
    4690
    """
    p = nonzeros / size if size else 0.0
    return 0.0 if p in (0.0, 1.0) else size * -(p * math.log2(p) + (1 - p) * math.log2(1 - p))


def value_bits(patterns: Array, kind: str = "f") -> float:
    """Sum of the order-0 entropies of the byte planes of bit patterns, the sign of floats rotated down."""
    width = patterns.dtype.itemsize * 8
    one, top = patterns.dtype.type(1), patterns.dtype.type(width - 1)
    turned = (patterns << one) | (patterns >> top) if kind == "f" else patterns
    octets = np.ascontiguousarray(turned).view(np.uint8).reshape(patterns.size, -1 if patterns.size else 1)
    return sum(order0_bits(octets[:, plane]) for plane in range(octets.shape[1])) if patterns.size else 0.0


def bound_of(array: Array) -> Bound:
    """The order-0 bound of one tensor."""
    from ..archive.chunk import kind_of

    bits = as_bits(array).reshape(-1)
    kept = bits[bits != 0]
    return Bound(position_bits(kept.size, bits.size), value_bits(kept, kind_of(array.dtype)), int(kept.size))


def waterfall(
    arrays: Iterable[Array],
    *,
    positions: int | None = None,
    file: int | None = None,
    gzip: bool = False,
    zstd: bool = False,
) -> Waterfall:
    """The waterfall of a set of tensors; tensors of one dimension and less count as dense in the theory.

    Parameters
    ----------
    positions, file
        Bytes of the components and of the file, where one was written.
    gzip, zstd
        Also run `gzip -6` (1 s for each 20 MB) and `zstd -19` (some for each 10 MB) over the dense bytes.
    """
    dense = values = nonzeros = 0
    bound = 0.0
    kept = []
    for array in arrays:
        found = bound_of(array)
        dense += array.nbytes
        sparse = array.ndim > 1
        values += found.nonzeros * array.dtype.itemsize if sparse else array.nbytes
        nonzeros += found.nonzeros if sparse else 0
        bound += found.total
        kept.append(array)
    squeezed = gzip_bytes(kept) if gzip else None, zstd_bytes(kept) if zstd else None
    return Waterfall(dense, values, nonzeros, math.ceil(bound / 8), positions, file, *squeezed)


def gzip_bytes(arrays: Iterable[Array]) -> int:
    """Bytes of the tensors, one after the other, under `gzip -6`; streamed."""
    import zlib

    deflate = zlib.compressobj(6, zlib.DEFLATED, 31)
    return sum(len(deflate.compress(as_bits(array).reshape(-1).data)) for array in arrays) + len(
        deflate.flush()
    )


def zstd_bytes(arrays: Iterable[Array]) -> int:
    """Bytes of the tensors, one after the other, under `zstd -19`; streamed."""
    import zstandard

    squeeze = zstandard.ZstdCompressor(level=19).compressobj()
    return sum(len(squeeze.compress(as_bits(array).reshape(-1).data)) for array in arrays) + len(
        squeeze.flush()
    )
