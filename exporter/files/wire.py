"""The records of a serialized protobuf message, without parsing what is in them.

A message is a row of records: a key (field number and wire type), then the value (protobuf.dev, "Encoding").
That is all it takes to leave a weight's bytes out of a model before it is parsed, or to put them into it
while it is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

Buffer = bytes | memoryview

_VARINT, _FIXED64, LENGTH, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}
#: Bytes of the longest number.
_LONGEST = 10


class Malformed(Exception):
    """The bytes are no row of records, or have groups, which ONNX does not use."""


class Record(NamedTuple):
    """One field of a message: where the record starts, where its value does, and where both end."""

    field: int
    kind: int
    start: int
    value: int
    end: int


def records(data: Buffer, start: int, end: int) -> Iterator[Record]:
    """The records of the message that lies in `data` from `start` to `end`.

    Raises
    ------
    Malformed
        If they do not fill it exactly.
    """
    while start < end:
        key, place = _number(data, start, end)
        kind = key & 7
        if kind == _VARINT:
            value, stop = place, _number(data, place, end)[1]
        elif kind == LENGTH:
            length, value = _number(data, place, end)
            stop = value + length
        elif kind in _FIXED:
            value, stop = place, place + _FIXED[kind]
        else:
            raise Malformed(f"wire type {kind}")
        if stop > end:
            raise Malformed("a record ends beyond its message")
        yield Record(key >> 3, kind, start, value, stop)
        start = stop


def head(field: int, length: int) -> bytes:
    """What stands before a length-delimited value.

    Examples
    --------
    >>> head(5, 300).hex()
    '2aac02'
    """
    return _written(field << 3 | LENGTH) + _written(length)


def _number(data: Buffer, start: int, end: int) -> tuple[int, int]:
    """The number at `start`, and where it ends."""
    value = shift = 0
    for place in range(start, min(end, start + _LONGEST)):
        octet = data[place]
        value |= (octet & 0x7F) << shift
        if octet < 0x80:
            return value, place + 1
        shift += 7
    raise Malformed("a number without an end")


def _written(value: int) -> bytes:
    octets = bytearray()
    while value > 0x7F:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)
