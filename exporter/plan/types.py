"""Element types that the decode of a format gives bit for bit."""

from __future__ import annotations

from ...formats.base import Array

#: What float32 holds exactly, and what takes float64, by the names that numpy has for them.
NARROW = ("float16", "bfloat16", "int8", "uint8", "int16", "uint16", "bool")
WIDE = ("int32", "uint32", "int64", "uint64")
#: Beyond this an integer may have no float64 of its own.
LARGEST = 1 << 53


def decoded_exactly(array: Array) -> bool:
    """Whether a decode that computes in float32 or float64 gives every element of such an array."""
    name = array.dtype.name
    if name in ("int64", "uint64") and array.size:
        return max(-int(array.min()), int(array.max())) <= LARGEST
    return name in ("float32", "float64", *NARROW, *WIDE)
