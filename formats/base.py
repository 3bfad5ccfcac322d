"""What every format promises: exact size before packing, bit-exact round trip, checks before trust.

A format turns one dense array into named component arrays and back. It works on *bits*: an entry is
a non-zero when any of its bits is set, so -0.0 and every NaN payload survive.

NOTES
-----
A format module must never import torch, onnx or onnxruntime, loop in Python over elements, or
allocate from a size it has not checked.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import CorruptFileError

Array = NDArray[Any]

#: Refuse to expand to more than this many dense bytes unless the caller raises the limit.
MAX_DENSE_BYTES = 1 << 36
#: Elements looked at together where only a number is wanted of a tensor.
CHUNK = 1 << 20


@dataclass(frozen=True)
class Packed:
    """One tensor in one format: named component arrays plus what is needed to read them.

    Parameters
    ----------
    format, version
        Name and layout version of the format that wrote the components.
    shape, dtype
        Of the dense array. The first axis is the row axis (output channels).
    components
        Name to array, in the order in which they are stored.
    meta
        Small JSON-able facts that the components do not carry (block size, bit width).
    """

    format: str
    version: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    components: Mapping[str, Array]
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of all components: what the tensor costs in a file, headers apart."""
        return sum(int(component.nbytes) for component in self.components.values())


def as_bits(array: Array) -> Array:
    """The same memory seen as unsigned integers of the same width (contiguous, shape kept)."""
    array = np.ascontiguousarray(array).reshape(array.shape)
    return array.view(np.dtype(f"u{array.dtype.itemsize}"))


def chunks(array: Array) -> Iterator[Array]:
    """Flat views of a contiguous array, `CHUNK` elements each: what is computed of one stays small."""
    flat = array.reshape(-1)
    for start in range(0, flat.size, CHUNK):
        yield flat[start : start + CHUNK]


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of a weight: first axis by everything else; a scalar is 1 x 1."""
    if not shape:
        return 1, 1
    return shape[0], math.prod(shape[1:])


class TensorStats:
    """Facts about one dense array that formats need to state their size; computed once, on demand.

    Parameters
    ----------
    array
        Dense array of any shape and of a 1, 2, 4 or 8 byte dtype. Kept by reference.
    """

    def __init__(self, array: Array) -> None:
        self.array = array
        self.shape: tuple[int, ...] = tuple(array.shape)
        self.dtype: np.dtype[Any] = array.dtype
        self.size = int(array.size)
        self.nbytes = int(array.nbytes)
        self.rows, self.cols = matrix_shape(self.shape)
        #: What a format found out about the tensor and will ask again.
        self.memo: dict[str, Any] = {}

    @cached_property
    def bits(self) -> Array:
        """The array as a flat vector of unsigned integers."""
        return as_bits(self.array).reshape(-1)

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """Flat positions of the non-zeros, ascending, int64 [nnz]."""
        return np.flatnonzero(self.bits != 0)

    @cached_property
    def nnz(self) -> int:
        """Number of entries with any bit set."""
        if "positions" in self.__dict__:
            return int(self.positions.size)
        return int(np.count_nonzero(self.bits))

    @cached_property
    def row_ends(self) -> NDArray[np.int64]:
        """Number of non-zeros up to and including each row, int64 [rows]."""
        limits = np.arange(1, self.rows + 1, dtype=np.int64) * self.cols
        return np.searchsorted(self.positions, limits)

    @cached_property
    def gaps(self) -> NDArray[np.int64]:
        """Zeros skipped before each non-zero since its predecessor in the row, int64 [nnz]."""
        gaps = np.diff(self.positions, prepend=-1)
        gaps -= 1
        starts = np.concatenate([[0], self.row_ends[:-1]])
        first = starts[starts < self.row_ends]  # first non-zero of every row that has one
        gaps[first] = self.positions[first] % self.cols
        return gaps

    @cached_property
    def longest_gap(self) -> int:
        """The largest gap, 0 where there is no non-zero."""
        return int(self.gaps.max(initial=0))

    def fillers(self, width: int) -> int:
        """Entries to add so that every gap fits in `width` bits."""
        if self.longest_gap >> width == 0:
            return 0
        return int((self.gaps >> width).sum())

    @property
    def density(self) -> float:
        """nnz over size; 0 for an empty tensor."""
        return self.nnz / self.size if self.size else 0.0


class Format(ABC):
    """One way to store a tensor. Subclasses are stateless; one instance lives in the name table."""

    name: ClassVar[str]
    version: ClassVar[int] = 1
    #: One line for tables: what it stores and when it wins.
    summary: ClassVar[str]
    #: Prefix of the ONNX operators that read it ("Sparse" -> SparseConv, SparseMatMul); None: not in ONNX.
    operator: ClassVar[str | None] = None
    #: Prefix of those that take the signs of their activations too; None: there are none.
    sign_operator: ClassVar[str | None] = None
    #: Format of the signs alone, for layers that take the signs of their activations; None: there is none.
    sign_format: ClassVar[str | None] = None
    #: Devices on which the native library reads it as it is; elsewhere the function expands it at load.
    kernels: ClassVar[tuple[str, ...]] = ()
    #: Who takes a tie in bytes, the lowest first: what a kernel runs, the faster one first, then the more
    #: regular layout.
    precedence: ClassVar[int] = 9
    #: Components in the order the operators take them, between the activation X and scale, bias.
    operator_inputs: ClassVar[tuple[str, ...]] = ()
    #: Component that goes into the operator's `scale` input instead (alpha of each channel); None: ones.
    scale_component: ClassVar[str | None] = None
    #: Body in ONNX text that decodes the components, with names that `rewrite.functions` defines before it:
    #: shape, rows, cols, size (int64, 1-D), zero1 = [0], axis0 = 0, rows_i, cols_i (int32 scalars).
    #: With `operator_entries` it gives `entries` (float [n]) and `position` (int32 [n], row-major; a position
    #: may occur twice with the same value); otherwise `dense` (float [rows, cols]), every row multiplied by
    #: `row_scale` (float, [rows, 1] or a scalar).
    operator_decode: ClassVar[str] = ""
    operator_entries: ClassVar[bool] = False

    def operator_text(self, parts: int) -> str:
        """`operator_decode`, in so many parts where the format can do that."""
        return self.operator_decode

    def operator_parts(self, packed: Packed) -> int:
        """How many parts a decode takes best; 0 for a weight so small that some would be empty."""
        return 1

    @abstractmethod
    def applies_to(self, stats: TensorStats) -> bool:
        """Whether this format can hold the tensor bit for bit."""

    @abstractmethod
    def nbytes(self, stats: TensorStats) -> int:
        """Exact bytes that `pack` will produce, before packing."""

    @abstractmethod
    def pack(self, array: Array, stats: TensorStats | None = None) -> Packed:
        """The array in this format.

        Raises
        ------
        UnsupportedError
            If the format cannot hold the array bit for bit.
        """

    @abstractmethod
    def check(self, packed: Packed) -> None:
        """Prove every invariant of the components, allocating nothing that the data sizes.

        Raises
        ------
        CorruptFileError
            Naming the rule that is broken and the component.
        """

    @abstractmethod
    def unpack(self, packed: Packed, max_bytes: int = MAX_DENSE_BYTES) -> Array:
        """The dense array, bit for bit as it was packed. Runs `check` first."""

    def from_operator(self, components: Mapping[str, Array], attributes: Mapping[str, Any]) -> Packed:
        """The packed tensor that a node of this format's operator holds; not checked yet.

        Parameters
        ----------
        components
            The node's packed inputs by name.
        attributes
            The node's attributes by name; ``shape`` is the dense shape, outputs first.
        """
        dtype = components["values"].dtype if "values" in components else np.dtype(np.float32)
        return Packed(self.name, self.version, tuple(attributes["shape"]), dtype, dict(components))

    @abstractmethod
    def examples(self) -> Iterator[tuple[str, Array]]:
        """Tiny named arrays: documentation, golden files and fuzz seeds come from them."""


def require(condition: bool, rule: str, packed: Packed, component: str | None = None) -> None:
    """Raise `CorruptFileError` naming the broken rule unless the condition holds."""
    if not condition:
        where = f" component '{component}'" if component else ""
        raise CorruptFileError(f"{packed.format}{where}: {rule}")


def check_header(
    fmt: Format, packed: Packed, names: tuple[str, ...], max_bytes: int | None = None
) -> tuple[int, int]:
    """Check what all formats share (name, version, shape, components); return rows and columns."""
    require(packed.format == fmt.name, f"expected format '{fmt.name}'", packed)
    require(packed.version == fmt.version, f"version {packed.version} is not {fmt.version}", packed)
    require(tuple(packed.components) == names, f"components must be {', '.join(names) or 'none'}", packed)
    require(len(packed.shape) <= 8, "more than 8 dimensions", packed)
    require(
        all(type(d) is int and 0 <= d < 1 << 48 for d in packed.shape),
        "dimensions must be integers in [0, 2^48)",
        packed,
    )
    require(
        packed.dtype.itemsize in (1, 2, 4, 8) and packed.dtype.kind in "fiubcV",
        f"dtype {packed.dtype}",
        packed,
    )
    size = math.prod(packed.shape)
    limit = MAX_DENSE_BYTES if max_bytes is None else max_bytes
    require(
        size * packed.dtype.itemsize <= limit,
        f"dense size {size * packed.dtype.itemsize} B is over {limit} B",
        packed,
    )
    return matrix_shape(packed.shape)
