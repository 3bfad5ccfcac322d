"""The directory of a zip, read once and strictly: every byte of the file belongs to exactly one entry.

What torch writes is a zip of stored records, one after the other, and a directory behind them. Anything that
lets two readers see two things is refused: data before, between or behind the records, a second directory,
encryption, compression, names that another reader spells or folds differently.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ...errors import CorruptFileError
from ...text import shown
from . import budget
from .failures import ours
from .zip_entries import FLAG_DESCRIPTOR, FULL32, Entry, entries
from .zip_rules import prove_names, prove_plain, refuse_script

_END, _END64, _LOCATOR = b"PK\5\6", b"PK\6\6", b"PK\6\7"
_LOCAL, _DESCRIPTOR = b"PK\3\4", b"PK\7\x08"
_FULL16 = 0xFFFF
_DIRECTORY_LIMIT = 64 << 20


@dataclass(frozen=True)
class Member:
    """One entry: `size` bytes of the file from `start`, stored as they are."""

    name: str
    start: int
    size: int
    crc: int


class ZipFile:
    """A zip opened for reading, its directory proved; of a file, or of `data` in memory.

    Attributes
    ----------
    members
        By name, without the folder that all of them lie in.

    Raises
    ------
    CorruptFileError
        Naming the rule that is broken and the entry.
    """

    def __init__(self, path: Path | str, data: bytes | None = None) -> None:
        self.where, self._data = shown(path), data
        self._file = None
        with ours(path):
            if data is None:
                self._file = Path(path).open("rb")  # noqa: SIM115 (closed by `close`)
            self.size = os.fstat(self._file.fileno()).st_size if self._file else len(data or b"")
            try:
                self.root, self.members = self._directory()
            except BaseException:
                self.close()
                raise

    def __enter__(self) -> ZipFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; maps of it stay."""
        if self._file:
            self._file.close()

    def read(self, name: str) -> bytes:
        """The bytes of an entry, its checksum verified."""
        member = self.members[name]
        data = self._at(member.start, member.size)
        if zlib.crc32(data) != member.crc:
            raise CorruptFileError(f"{self.where}: {shown(name)} is damaged: its checksum does not match")
        return data

    def map(self) -> mmap.mmap:
        """The whole file, mapped privately: from the very descriptor whose directory was proved."""
        if self._file is None:
            raise ValueError("no file to map")
        return mmap.mmap(self._file.fileno(), self.size, access=mmap.ACCESS_COPY)

    def _at(self, offset: int, size: int) -> bytes:
        if offset < 0 or size < 0 or offset + size > self.size:
            raise CorruptFileError(f"{self.where}: truncated or damaged: its zip directory points outside it")
        if self._file is None:
            return (self._data or b"")[offset : offset + size]
        data = os.pread(self._file.fileno(), size, offset)
        while len(data) < size:  # the system gives at most 2 GB at once
            more = os.pread(self._file.fileno(), size - len(data), offset + len(data))
            if not more:
                raise CorruptFileError(f"{self.where}: ended while it was read")
            data += more
        return data

    def _directory(self) -> tuple[str, dict[str, Member]]:
        start, size, count = self._end()
        if count > budget.MAX_MEMBERS or size > _DIRECTORY_LIMIT:
            raise CorruptFileError(f"{self.where}: {count:,} zip entries (at most {budget.MAX_MEMBERS:,})")
        found = list(entries(self._at(start, size), count, self.where))
        refuse_script(found, self.where)
        for entry in found:
            prove_plain(entry, self.size, self.where)
        if sum(entry.size for entry in found) > self.size:
            raise CorruptFileError(f"{self.where}: its zip entries overlap")
        prove_names(found, self.where)
        expected = 0
        members: dict[str, Member] = {}
        for entry in sorted(found, key=lambda entry: entry.offset):
            begin, end = self._local(entry, expected)
            tail = entry.name.partition("/")[2]
            members[tail] = Member(tail, begin, entry.size, entry.crc)
            expected = end
        if expected != start:
            raise CorruptFileError(
                f"{self.where}: {start - expected:,} bytes before its zip directory belong to no entry"
            )
        return found[0].name.partition("/")[0], members

    def _end(self) -> tuple[int, int, int]:
        """Offset, bytes and entries of the directory, from the records at the very end of the file."""
        tail = self._at(max(0, self.size - 98), min(98, self.size))
        if len(tail) < 22 or tail[-22:-18] != _END:
            raise CorruptFileError(
                f"{self.where}: truncated or damaged: the zip directory at its end cannot be read,"
                " or something follows it"
            )
        disk, first, here, count, size, start, comment = struct.unpack("<HHHHIIH", tail[-18:])
        end = self.size - 22
        if len(tail) >= 98 and tail[56:60] == _LOCATOR:
            disk_of, where64, disks = struct.unpack("<IQI", tail[60:76])
            if where64 != end - 76 or disk_of or disks > 1 or tail[:4] != _END64:
                raise CorruptFileError(f"{self.where}: its zip64 directory is not where it should be")
            length, _, _, disk64, first64, here64, count64, size64, start64 = struct.unpack(
                "<QHHIIQQQQ", tail[4:56]
            )
            for small, large, full in (
                (here, here64, _FULL16),
                (count, count64, _FULL16),
                (size, size64, FULL32),
                (start, start64, FULL32),
            ):
                if small not in (large, full):
                    raise CorruptFileError(f"{self.where}: its two zip directories differ")
            if length != 44 or disk64 or first64:
                raise CorruptFileError(f"{self.where}: an unusual zip64 directory")
            here, count, size, start, end = here64, count64, size64, start64, end - 76
        if disk not in (0, _FULL16) or first not in (0, _FULL16) or here != count or comment or not count:
            raise CorruptFileError(f"{self.where}: a zip of several parts, with a comment, or empty")
        if start + size != end:
            raise CorruptFileError(
                f"{self.where}: its zip directory does not end where it should: truncated, or two files"
                " in one"
            )
        return start, size, count

    def _local(self, entry: Entry, expected: int) -> tuple[int, int]:
        """First byte of an entry's data, and the first byte behind it, its local header proved."""
        name = shown(entry.name)
        if entry.offset != expected:
            raise CorruptFileError(
                f"{self.where}: '{name}' begins at {entry.offset:,}, not at {expected:,} where the one"
                " before ends"
            )
        head = self._at(entry.offset, 30)
        flags, method, crc, stored, size, length, extra = struct.unpack("<4x2xHH4xIIIHH", head)
        begin = entry.offset + 30 + length + extra
        same = (
            head[:4] == _LOCAL
            and flags == entry.flags
            and method == 0
            and self._at(entry.offset + 30, length) == entry.raw
        )
        later = bool(flags & FLAG_DESCRIPTOR)
        known = size in (entry.size, FULL32) and stored in (entry.size, FULL32) and crc == entry.crc
        if not same or not (known or (later and not (size or stored or crc))):
            raise CorruptFileError(
                f"{self.where}: '{name}' is another entry in the directory than in its place"
            )
        end = begin + entry.size
        return begin, end + (self._descriptor(entry, end) if later else 0)

    def _descriptor(self, entry: Entry, end: int) -> int:
        """Bytes of the record behind an entry that was written before its size was known."""
        data = self._at(end, min(24, self.size - end))
        for form in ("<4xIII", "<4xIQQ"):
            size = struct.calcsize(form)
            if (
                data[:4] == _DESCRIPTOR
                and len(data) >= size
                and struct.unpack(form, data[:size]) == (entry.crc, entry.size, entry.size)
            ):
                return size
        raise CorruptFileError(
            f"{self.where}: '{shown(entry.name)}' has no proper record of its size behind it"
        )
