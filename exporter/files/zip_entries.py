"""The entries that the directory of a zip names, as it states them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ...errors import CorruptFileError

_MAGIC = b"PK\1\2"
FLAG_DESCRIPTOR, FLAG_UTF8 = 0x8, 0x800
FULL32 = 0xFFFFFFFF


@dataclass(frozen=True)
class Entry:
    """What a directory says of one entry; sizes and offset in bytes."""

    name: str
    raw: bytes
    flags: int
    method: int
    crc: int
    stored: int
    size: int
    offset: int


def entries(data: bytes, count: int, where: str) -> Iterator[Entry]:
    """Every entry of a directory of `count` entries."""
    at = 0
    for _ in range(count):
        if data[at : at + 4] != _MAGIC or at + 46 > len(data):
            raise CorruptFileError(f"{where}: its zip directory is damaged at entry {_ + 1:,}")
        flags, method, crc, stored, size, name, extra, comment, disk, offset = struct.unpack(
            "<4x2x2xHH4xIIIHHHH2x4xI", data[at : at + 46]
        )
        raw = data[at + 46 : at + 46 + name]
        fields = data[at + 46 + name : at + 46 + name + extra]
        at += 46 + name + extra + comment
        if at > len(data) or comment or disk:
            raise CorruptFileError(f"{where}: its zip directory is damaged at entry {_ + 1:,}")
        size, stored, offset = _wide(fields, size, stored, offset)
        yield Entry(_name(raw, flags, where), raw, flags, method, crc, stored, size, offset)
    if at != len(data):
        raise CorruptFileError(f"{where}: its zip directory has entries that it does not count")


def _wide(fields: bytes, size: int, stored: int, offset: int) -> tuple[int, int, int]:
    """Sizes and offset with what the zip64 field says where 32 bits are too few."""
    at, values = 0, [size, stored, offset]
    while at + 4 <= len(fields):
        kind, length = struct.unpack("<HH", fields[at : at + 4])
        if kind == 1:
            wide = fields[at + 4 : at + 4 + length]
            for i, value in enumerate(values):
                if value == FULL32 and len(wide) >= 8:
                    values[i], wide = int.from_bytes(wide[:8], "little"), wide[8:]
            break
        at += 4 + length
    return values[0], values[1], values[2]


def _name(raw: bytes, flags: int, where: str) -> str:
    try:
        return raw.decode("utf-8" if flags & FLAG_UTF8 else "ascii")
    except UnicodeDecodeError as error:
        raise CorruptFileError(f"{where}: the name of a zip entry is not UTF-8") from error
