"""The low bits of numbers as streams: whole bytes as byte planes, odd ones as bit planes."""

from __future__ import annotations

import numpy as np

from ...formats.base import Array
from ...formats.parts.bits import row_bytes
from .entropy import squeeze
from .segment import Reader


def pack_low(turned: Array, low: int) -> list[bytes]:
    """The `low` lowest bits: whole bytes as planes, lowest first, then single bits packed eight a byte."""
    streams = []
    octets = turned.view(np.uint8).reshape(turned.size, turned.dtype.itemsize)
    for plane in range(low // 8):
        streams.append(squeeze(octets[:, plane]))
    if low % 8:
        odd = octets[:, low // 8]
        planes = [
            np.packbits((odd >> np.uint8(bit)) & np.uint8(1), bitorder="little") for bit in range(low % 8)
        ]
        streams.append(squeeze(np.concatenate(planes)))
    return streams


def unpack_low(read: Reader, count: int, low: int, dtype: np.dtype[np.unsignedinteger]) -> Array:
    """What `pack_low` took."""
    octets = np.zeros((count, dtype.itemsize), np.uint8)
    for plane in range(low // 8):
        octets[:, plane] = read(count)
    if low % 8:
        length = row_bytes(count)
        planes = read(length * (low % 8)).reshape(low % 8, length)
        odd = np.unpackbits(planes[0], count=count, bitorder="little")
        for bit in range(1, low % 8):
            more = np.unpackbits(planes[bit], count=count, bitorder="little")
            more <<= np.uint8(bit)
            odd |= more
        octets[:, low // 8] = odd
    return octets.view(dtype).reshape(count)
