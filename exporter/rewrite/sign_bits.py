"""The order of a weight's bits: channels first as in the checkpoint, or last as packed activations lie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...formats.base import Array
from ...formats.parts.bits import pack_rows, unpack_rows


def channels_last(rows: Array, shape: Sequence[int]) -> Array:
    """Bits of a weight [K, C, spatial...], uint8 [K, ceil(n / 8)], in the order spatial..., C.

    Examples
    --------
    >>> channels_last(np.array([[0b001011]], np.uint8), [1, 2, 3]).tolist()
    [[7]]
    """
    return _moved(rows, shape, 1, -1)


def channels_first(rows: Array, shape: Sequence[int]) -> Array:
    """The inverse of `channels_last`; `shape` is [K, C, spatial...] again."""
    return _moved(rows, [shape[0], *shape[2:], shape[1]], -1, 1)


def _moved(rows: Array, shape: Sequence[int], source: int, target: int) -> Array:
    if len(shape) == 2:
        return rows
    columns = int(np.prod(shape[1:]))
    bits = unpack_rows(rows, columns).reshape(shape)
    return pack_rows(np.moveaxis(bits, source, target).reshape(shape[0], columns))
