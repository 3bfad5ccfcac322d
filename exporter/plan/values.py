"""Lossy values, only where asked for: fewer bits for each non-zero, every zero exactly zero.

`encode` turns a float32 weight into what is packed instead of it, and the factor of each output channel
that brings it back: the operator's `scale` input takes it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from ...errors import InputError, UnsupportedError
from ...formats.base import Array, as_bits, matrix_shape

#: What `--values` takes beside `codebook:N`; "fp32" is the checkpoint's values as they are.
CHOICES = ("fp32", "fp16", "bf16", "int8")
_ITERATIONS = 40


@dataclass(frozen=True)
class Spec:
    """A value encoding: its kind ("fp32", "fp16", "bf16", "int8", "codebook") and the codebook's size."""

    kind: str
    clusters: int = 0

    @property
    def lossy(self) -> bool:
        """Whether values stored so differ from the checkpoint's."""
        return self.kind != "fp32"

    def __str__(self) -> str:
        return f"codebook:{self.clusters}" if self.clusters else self.kind


LOSSLESS = Spec("fp32")


@dataclass(frozen=True)
class Encoded:
    """What is packed in place of a weight.

    Attributes
    ----------
    given
        The array, or what gives it each time: a weight that is packed as it is lies in its source already.
    scale
        float64 [rows]: factor of each output channel; None for ones.
    max_error
        Largest difference to the weight, in the weight's units.
    """

    given: Array | Callable[[], Array]
    scale: NDArray[np.float64] | None = None
    max_error: float = 0.0

    @property
    def array(self) -> Array:
        """Of the weight's shape: float32, float16, bfloat16 or int8 codes."""
        return self.given() if callable(self.given) else self.given

    def decode(self) -> NDArray[np.float32]:
        """The float32 weight that the operator computes with."""
        return _decode(self.array, self.scale)


def parse(text: str) -> Spec:
    """The encoding of that name.

    Raises
    ------
    InputError
        If there is none.

    Examples
    --------
    >>> parse("codebook:16")
    Spec(kind='codebook', clusters=16)
    """
    if text in CHOICES:
        return Spec(text)
    found = re.fullmatch(r"codebook:([1-9][0-9]{0,2})", text, re.ASCII)
    if found and 2 <= int(found[1]) <= 255:
        return Spec("codebook", int(found[1]))
    raise InputError(f"--values {text}: choose {', '.join(CHOICES)} or codebook:N with N from 2 to 255")


def encode(array: Array, spec: Spec) -> Encoded:
    """The float32 weight (outputs first) with its values stored as the spec says.

    Raises
    ------
    UnsupportedError
        If a value is out of the range of the encoding.
    """
    if not spec.lossy:
        return Encoded(array)
    scale = None
    if spec.kind == "int8":
        packed, scale = _int8(array)
    elif spec.kind == "codebook":
        packed = _clustered(array, spec.clusters)
    else:
        dtype = np.dtype(np.float16) if spec.kind == "fp16" else np.dtype(ml_dtypes.bfloat16)
        packed = _cast(array, dtype, spec.kind)
    error = np.abs(_decode(packed, scale) - array)
    return Encoded(packed, scale, float(np.max(error, initial=0.0)))


def _decode(array: Array, scale: NDArray[np.float64] | None) -> NDArray[np.float32]:
    wide = array.astype(np.float32)
    if scale is None:
        return wide
    rows, cols = matrix_shape(array.shape)
    return (wide.reshape(rows, cols) * scale[:, None]).astype(np.float32).reshape(array.shape)


def _cast(array: Array, dtype: np.dtype[Any], name: str) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(dtype)
    if not bool(np.isfinite(cast.astype(np.float32)).all()):
        raise UnsupportedError(f"a weight is beyond the range of {name}; choose bf16 or fp32 values")
    # What became zero is a plain zero: a negative one would count as an entry.
    as_bits(cast)[cast.astype(np.float32) == 0] = 0
    return cast


def _int8(array: Array) -> tuple[Array, NDArray[np.float64]]:
    """Symmetric per output channel: codes from -127 to 127 of the channel's largest magnitude."""
    rows, cols = matrix_shape(array.shape)
    matrix = array.reshape(rows, cols)
    if not bool(np.isfinite(matrix).all()):
        raise UnsupportedError("a weight is infinite or NaN: int8 cannot hold it")
    largest = np.abs(matrix).max(axis=1, initial=0).astype(np.float64)
    scale = np.where(largest > 0, largest / 127, 1.0)
    codes = np.rint(matrix / scale[:, None]).astype(np.int8)
    return codes.reshape(array.shape), scale


def _clustered(array: Array, clusters: int) -> Array:
    """The weight with its non-zeros moved to the nearest of `clusters` centres.

    One-dimensional k-means (Lloyd) over the surviving values, started evenly over their range, which
    keeps the few large weights apart (Han et al., "Deep Compression", ICLR 2016, section 3.2).
    """
    flat = array.reshape(-1)
    places = np.flatnonzero(flat)
    if not bool(np.isfinite(flat[places]).all()):
        raise UnsupportedError("a weight is infinite or NaN: a codebook cannot hold it")
    ordered = np.sort(flat[places]).astype(np.float64)
    if ordered.size == 0 or np.unique(ordered).size <= clusters:
        return array
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    centres = np.linspace(ordered[0], ordered[-1], clusters)
    for _ in range(_ITERATIONS):
        ends = np.searchsorted(ordered, (centres[1:] + centres[:-1]) / 2)
        edges = np.concatenate([[0], ends, [ordered.size]])
        counts = np.diff(edges)
        means = np.divide(sums[edges[1:]] - sums[edges[:-1]], counts, out=centres.copy(), where=counts > 0)
        if np.allclose(means, centres, rtol=1e-7, atol=0):
            break
        centres = means
    table = centres.astype(np.float32)
    table[table == 0] = np.finfo(np.float32).tiny  # a survivor stays a survivor
    moved = np.zeros(flat.size, np.float32)
    moved[places] = table[np.searchsorted((centres[1:] + centres[:-1]) / 2, flat[places])]
    return moved.reshape(array.shape)
