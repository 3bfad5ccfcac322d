"""The directory of a zip, read once and strictly: every byte of the file belongs to exactly one entry.

What torch writes is a zip of stored records, one after the other, and a directory behind them. Anything that
lets two readers see two things is refused: data before, between or behind the records, a second directory,
encryption, compression, names that another reader spells or folds differently.
"""

from __future__ import annotations

import mmap
import os
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ...errors import CorruptFileError, UnsupportedError
from ...text import shown
from . import budget
from .failures import ours

_END, _END64, _LOCATOR = b"PK\5\6", b"PK\6\6", b"PK\6\7"
_CENTRAL, _LOCAL, _DESCRIPTOR = b"PK\1\2", b"PK\3\4", b"PK\7\x08"
_FLAG_DESCRIPTOR, _FLAG_UTF8 = 0x8, 0x800
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_NAME = re.compile(r"[^\x00-\x1f\x7f\\:/]+(?:/[^\x00-\x1f\x7f\\:/]+)*")
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
        entries = list(self._entries(self._at(start, size), count))
        self._refuse_script(entries)
        for entry in entries:
            self._prove_plain(entry)
        if sum(entry.size for entry in entries) > self.size:
            raise CorruptFileError(f"{self.where}: its zip entries overlap")
        self._prove_names(entries)
        expected = 0
        members: dict[str, Member] = {}
        for entry in sorted(entries, key=lambda entry: entry.offset):
            begin, end = self._local(entry, expected)
            tail = entry.name.partition("/")[2]
            members[tail] = Member(tail, begin, entry.size, entry.crc)
            expected = end
        if expected != start:
            raise CorruptFileError(
                f"{self.where}: {start - expected:,} bytes before its zip directory belong to no entry"
            )
        return entries[0].name.partition("/")[0], members

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
                (size, size64, _FULL32),
                (start, start64, _FULL32),
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

    def _entries(self, data: bytes, count: int) -> Iterator[_Entry]:
        """Every entry of the directory."""
        at = 0
        for _ in range(count):
            if data[at : at + 4] != _CENTRAL or at + 46 > len(data):
                raise CorruptFileError(f"{self.where}: its zip directory is damaged at entry {_ + 1:,}")
            flags, method, crc, stored, size, name, extra, comment, disk, offset = struct.unpack(
                "<4x2x2xHH4xIIIHHHH2x4xI", data[at : at + 46]
            )
            raw = data[at + 46 : at + 46 + name]
            fields = data[at + 46 + name : at + 46 + name + extra]
            at += 46 + name + extra + comment
            if at > len(data) or comment or disk:
                raise CorruptFileError(f"{self.where}: its zip directory is damaged at entry {_ + 1:,}")
            size, stored, offset = self._wide(fields, size, stored, offset)
            yield _Entry(self._name(raw, flags), raw, flags, method, crc, stored, size, offset)
        if at != len(data):
            raise CorruptFileError(f"{self.where}: its zip directory has entries that it does not count")

    def _wide(self, fields: bytes, size: int, stored: int, offset: int) -> tuple[int, int, int]:
        """Sizes and offset with what the zip64 field says where 32 bits are too few."""
        at, values = 0, [size, stored, offset]
        while at + 4 <= len(fields):
            kind, length = struct.unpack("<HH", fields[at : at + 4])
            if kind == 1:
                wide = fields[at + 4 : at + 4 + length]
                for i, value in enumerate(values):
                    if value == _FULL32 and len(wide) >= 8:
                        values[i], wide = int.from_bytes(wide[:8], "little"), wide[8:]
                break
            at += 4 + length
        return values[0], values[1], values[2]

    def _name(self, raw: bytes, flags: int) -> str:
        try:
            return raw.decode("utf-8" if flags & _FLAG_UTF8 else "ascii")
        except UnicodeDecodeError as error:
            raise CorruptFileError(f"{self.where}: the name of a zip entry is not UTF-8") from error

    def _prove_plain(self, entry: _Entry) -> None:
        """Stored as it is: neither encrypted nor compressed, nor larger than the file."""
        name = f"{self.where}: '{shown(entry.name)}'"
        if entry.flags & ~(_FLAG_DESCRIPTOR | _FLAG_UTF8):
            raise CorruptFileError(
                f"{name} is encrypted, patched or of a strange kind (flags {entry.flags:#x})"
            )
        if entry.method:
            raise CorruptFileError(
                f"{name} is compressed ({entry.stored:,} to {entry.size:,} bytes); torch.save never does"
                " that, refusing to inflate it"
            )
        if entry.size != entry.stored or entry.offset + entry.size > self.size:
            raise CorruptFileError(
                f"{name} claims {entry.size:,} bytes at offset {entry.offset:,} of a file of {self.size:,}"
            )

    def _refuse_script(self, entries: list[_Entry]) -> None:
        tails = [entry.name.partition("/")[2] for entry in entries]
        if "constants.pkl" in tails or any(tail.startswith("code/") for tail in tails):
            raise UnsupportedError(
                f"{self.where}: a TorchScript archive; save its weights with"
                " torch.save(torch.jit.load(FILE).state_dict(), 'state.pt') and give that"
            )

    def _prove_names(self, entries: list[_Entry]) -> None:
        seen: set[str] = set()
        root = entries[0].name.partition("/")[0]
        for entry in entries:
            folded = entry.name.casefold()
            if folded in seen:
                raise CorruptFileError(f"{self.where}: two zip entries are called '{shown(entry.name)}'")
            seen.add(folded)
            parts = entry.name.split("/")
            if not _NAME.fullmatch(entry.name) or len(entry.raw) > 1024 or {".", ".."} & set(parts):
                raise CorruptFileError(f"{self.where}: '{shown(entry.name)}' is no name for a zip entry")
            if len(parts) < 2 or parts[0] != root:
                raise CorruptFileError(
                    f"{self.where}: a zip file without data.pkl in one folder, so not written by torch.save:"
                    f" '{shown(entry.name)}'"
                )

    def _local(self, entry: _Entry, expected: int) -> tuple[int, int]:
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
        later = bool(flags & _FLAG_DESCRIPTOR)
        known = size in (entry.size, _FULL32) and stored in (entry.size, _FULL32) and crc == entry.crc
        if not same or not (known or (later and not (size or stored or crc))):
            raise CorruptFileError(
                f"{self.where}: '{name}' is another entry in the directory than in its place"
            )
        end = begin + entry.size
        return begin, end + (self._descriptor(entry, end) if later else 0)

    def _descriptor(self, entry: _Entry, end: int) -> int:
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


@dataclass(frozen=True)
class _Entry:
    name: str
    raw: bytes
    flags: int
    method: int
    crc: int
    stored: int
    size: int
    offset: int
