"""What a layer of integers is expected to cost: dense in the runtime, packed in the library's kernel.

Both multiply four input channels of a vector of outputs by one instruction, so the work is counted in
groups of four channels: the dense layer has all of them, the packed one those that hold a non-zero. Without
VNNI it is three instructions for both.
"""

from __future__ import annotations

import math

import numpy as np

from ...formats.base import Array
from ..graph.index import Layer
from .cost import Estimate, Work

#: Groups of four channels times a vector of outputs, a nanosecond: dense, packed; outputs in a vector.
_RATES = {
    "avx512vnni": (7.2, 4.8, 16),
    "avx512": (2.9, 1.9, 16),
    "avx2": (2.6, 1.7, 8),
    "scalar": (2.6, 0.2, 8),
}
#: Nanoseconds for a call, for a value that goes in or comes out, and for a byte of weights from memory.
_CALL, _VALUE, _BYTE = 1500.0, 0.05, 0.06


def groups(codes: Array) -> int:
    """Groups of four input channels, outputs first, that hold a non-zero.

    Examples
    --------
    >>> groups(np.array([[1, 0, 0, 0, 0, 0, 0, 0, 3]], np.int8))
    2
    """
    rows, channels = codes.shape[0], codes.shape[1] if codes.ndim > 1 else 1
    held = codes.reshape(rows, channels, -1) != 0
    padded = np.zeros((rows, -(-channels // 4) * 4, held.shape[2]), bool)
    padded[:, :channels] = held
    return int(np.count_nonzero(padded.reshape(rows, -1, 4, held.shape[2]).any(axis=2)))


def estimate(layer: Layer, work: Work, held: int, target: str) -> Estimate:
    """Expected cost of one run of a layer.

    Parameters
    ----------
    held
        Its non-empty groups.
    target
        Instruction set, as the library names it.
    """
    dense_rate, packed_rate, width = _RATES.get(target, _RATES["avx2"])
    shape = layer.attributes["shape"]
    assert isinstance(shape, list)
    channels = shape[1]
    every = work.size // max(1, channels) * -(-channels // 4)
    vectors = math.ceil(work.outputs / width)
    around = _CALL + _VALUE * (work.inputs + work.rows * work.outputs)
    dense = around + max(every * vectors / dense_rate, _BYTE * work.size)
    packed = around + max(held * vectors / packed_rate, 2 * _BYTE * work.nnz)
    return Estimate(dense * 1e-9, packed * 1e-9)
