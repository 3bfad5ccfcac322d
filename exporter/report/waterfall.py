"""Where the bytes are: from the dense file over the theory to what is on disk, and the entropy beside it.

The lab's formula for a pruned net is "non-zeros x 32". That is bits, of values alone: 74,151 non-zeros are
2,372,832 bits = 296,604 bytes, and positions come on top.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...formats.base import Array, as_bits, chunks


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
        The dense tensors under `gzip -6` and `zstd -19`.
    entropy
        Order-0 entropy: n H(p) for positions at each tensor's density, plane entropies for values. No bound:
        a coder that sees more than single bytes and one density a tensor can be below it.
    bits
        Of a value of the weights; None where they have several types.
    """

    dense: int
    values: int
    nonzeros: int
    entropy: int
    positions: int | None = None
    file: int | None = None
    gzip: int | None = None
    zstd: int | None = None
    bits: int | None = 32

    @property
    def over_entropy_percent(self) -> float | None:
        """How far the file is over the order-0 entropy, in per cent of it; below 0 if under it."""
        return None if self.file is None or not self.entropy else 100 * (self.file / self.entropy - 1)

    def to_json(self) -> dict[str, Any]:
        """All steps and the distance to the entropy."""
        steps = {name: size for name, size in asdict(self).items() if name != "bits"}
        return steps | {"over_entropy_percent": self.over_entropy_percent}

    def rows(self) -> list[tuple[str, int]]:
        """(step, bytes) of what was measured, from the biggest idea to the smallest file."""
        steps = [
            ("dense", self.dense),
            ("gzip -6 of dense", self.gzip),
            ("zstd -19 of dense", self.zstd),
            (f"theory: non-zeros x {self.bits or 'their'} bits", self.values),
            ("+ positions", self.positions),
            ("file on disk", self.file),
            ("order-0 entropy", self.entropy),
        ]
        return [(name, size) for name, size in steps if size is not None]


@dataclass
class Entropy:
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


def entropy_of(array: Array) -> Entropy:
    """The order-0 entropy of one tensor; its values' byte planes apart, the sign of floats rotated down."""
    from ..archive.chunk import kind_of

    kind = kind_of(array.dtype)
    planes = np.zeros((array.dtype.itemsize, 256), np.int64)
    nonzeros = 0
    for bits in chunks(as_bits(array)):
        kept = bits[bits != 0]
        nonzeros += int(kept.size)
        _count_planes(kept, kind, planes)
    return Entropy(position_bits(nonzeros, array.size), sum(_bits(counts) for counts in planes), nonzeros)


def _count_planes(patterns: Array, kind: str, into: NDArray[np.int64]) -> None:
    """Add the byte values of each plane of the bit patterns to `into`, int64 [planes, 256]."""
    width = patterns.dtype.itemsize * 8
    one, top = patterns.dtype.type(1), patterns.dtype.type(width - 1)
    turned = (patterns << one) | (patterns >> top) if kind == "f" else patterns
    octets = np.ascontiguousarray(turned).view(np.uint8).reshape(-1, into.shape[0])
    for plane in range(into.shape[0]):
        into[plane] += np.bincount(octets[:, plane], minlength=256)


def _bits(counts: NDArray[np.int64]) -> float:
    """Order-0 entropy of symbols that occur so often, in bits."""
    found = counts[counts > 0].astype(np.float64)
    return float(-(found * np.log2(found / found.sum())).sum()) if found.size else 0.0


class _Squeezed:
    """Bytes of a stream under `gzip -6` and `zstd -19`; nothing of it is kept."""

    def __init__(self) -> None:
        import zlib

        import zstandard

        self._coders: list[Any] = [
            zlib.compressobj(6, zlib.DEFLATED, 31),
            zstandard.ZstdCompressor(level=19).compressobj(),
        ]
        self._sizes = [0, 0]

    def add(self, array: Array) -> None:
        """Put a tensor behind those before it."""
        for bits in chunks(as_bits(array)):
            for place, coder in enumerate(self._coders):
                self._sizes[place] += len(coder.compress(bits.data))

    def sizes(self) -> tuple[int, int]:
        """The two sizes, once."""
        gzip, zstd = (size + len(c.flush()) for size, c in zip(self._sizes, self._coders, strict=True))
        return gzip, zstd


def waterfall(
    arrays: Iterable[Array],
    *,
    positions: int | None = None,
    file: int | None = None,
    compare: bool = False,
) -> Waterfall:
    """The waterfall of a set of tensors; tensors of one dimension and less count as dense in the theory.

    Parameters
    ----------
    arrays
        Looked at one after the other and not kept.
    positions, file
        Bytes of the components and of the file, where one was written.
    compare
        Also run `gzip -6` (1 s for each 20 MB) and `zstd -19` (some for each 10 MB) over the dense bytes.
    """
    dense = values = nonzeros = 0
    entropy, widths = 0.0, set()
    squeezed = _Squeezed() if compare else None
    for array in arrays:
        found = entropy_of(array)
        dense += array.nbytes
        sparse = array.ndim > 1
        values += found.nonzeros * array.dtype.itemsize if sparse else array.nbytes
        nonzeros += found.nonzeros if sparse else 0
        widths |= {array.dtype.itemsize * 8} if sparse and found.nonzeros else set()
        entropy += found.total
        if squeezed:
            squeezed.add(array)
    gzip, zstd = squeezed.sizes() if squeezed else (None, None)
    bits = 32 if not widths else widths.pop() if len(widths) == 1 else None
    return Waterfall(dense, values, nonzeros, math.ceil(entropy / 8), positions, file, gzip, zstd, bits)
