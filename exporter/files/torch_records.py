"""The records of a file of torch.save: a pickle, and storages that it refers to.

Two layouts: a zip with a record each, and, from before torch 1.6, five pickles with the storages behind them.
"""

from __future__ import annotations

import mmap as memory_map
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from ...errors import CorruptFileError
from ...text import shown
from . import budget
from .pickles.checks import Storage, require
from .pickles.names import ForbiddenGlobal, Global
from .pickles.reader import PickleReader
from .pickles.table import storage_type, table, table_without_sparse
from .pickles.values import build
from .zip_file import ZipFile

#: What torch.save writes beside the pickle and the storages.
_RECORDS = re.compile(
    r"data\.pkl|version|byteorder|\.format_version|\.storage_alignment|\.data/(?:serialization_id|version)|data/\w+"
)
#: First pickles of a file written before torch 1.6: magic number, protocol.
_LEGACY = (0x1950A86A20F9469CFC6C, 1001)


def read_zip(path: Path, mmap: bool) -> Any:
    """The object in a zip of torch.save, see `read_records`."""
    with ZipFile(path) as archive:
        return read_records(archive, mmap)


def read_records(archive: ZipFile, mmap: bool) -> Any:
    """The object in an opened zip of torch.save; its storages lie on a private map of the file, or are read.

    Raises
    ------
    ForbiddenGlobal
        If its pickle names what is not data.
    CorruptFileError
        If it breaks torch's format.
    """
    where = archive.where
    for name in archive.members:
        if not _RECORDS.fullmatch(name):
            raise CorruptFileError(f"{where}: '{shown(name)}' is no record of torch.save")
    order = archive.read("byteorder") if "byteorder" in archive.members else b"little"
    if order not in (b"little", b"big"):
        raise CorruptFileError(f"{where}: unknown endianness {shown(order)}")
    storages = _ZipStorages(archive, mmap, order == b"big")
    reader = PickleReader(
        archive.read("data.pkl"),
        where,
        table(),
        storages,
        build,
        budget.Purse(archive.size, where),
        opcodes=budget.MAX_OPCODES + budget.OPCODES_A_STORAGE * len(archive.members),
    )
    return reader.load()


class _ZipStorages:
    """Storages by the key that a persistent id gives, each made once."""

    def __init__(self, archive: ZipFile, mmap: bool, swap: bool) -> None:
        self.archive, self.swap = archive, swap
        self.map: memory_map.mmap | None = archive.map() if mmap else None
        self.made: dict[str, Storage] = {}

    def __call__(self, identity: Any) -> Storage:
        require(isinstance(identity, tuple) and len(identity) == 5, "a persistent id of no storage")
        kind, stored, key, _, count = identity
        require(kind == "storage" and type(key) is str and type(count) is int, "a persistent id")
        dtype = storage_type(stored)
        if key not in self.made:
            self.made[key] = Storage(self._untyped(key, count * dtype.itemsize, dtype), dtype)
        found = self.made[key]
        require(found.untyped.nbytes() == count * dtype.itemsize, f"storage '{shown(key)}' has two sizes")
        return Storage(found.untyped, dtype)

    def _untyped(self, key: str, size: int, dtype: torch.dtype) -> torch.UntypedStorage:
        member = self.archive.members.get(f"data/{key}")
        if member is None or member.size != size:
            have = f"has {member.size:,}" if member else "is missing"
            raise ValueError(f"storage '{shown(key)}' should have {size:,} bytes and {have}")
        if not size:
            return torch.UntypedStorage(0)  # type: ignore[no-untyped-call]
        aligned = member.start % max(1, dtype.itemsize) == 0
        if self.map is not None and aligned and not self.swap:
            flat = torch.frombuffer(self.map, dtype=torch.uint8, count=size, offset=member.start)
            return flat.untyped_storage()
        untyped = torch.frombuffer(
            bytearray(self.archive.read(member.name)), dtype=torch.uint8
        ).untyped_storage()
        if self.swap:
            untyped.byteswap(dtype)  # type: ignore[no-untyped-call]
        return untyped


def read_legacy(path: Path, mmap: bool) -> Any:
    """A file from before torch 1.6: five pickles, then the storages one after the other.

    The pickles are read twice: to find the storages, and, once these are filled, to make the tensors, because
    the indices of a sparse one are proved as it is made.
    """
    where = shown(path)
    with path.open("rb") as file:
        head, size = file.read(budget.MAX_PICKLE), path.stat().st_size
        storages, purse = _LegacyStorages(size), budget.Purse(size, where)

        def load(start: int, table: Mapping[str, Global]) -> tuple[Any, int]:
            reader = PickleReader(head, where, table, storages, build, purse, start=start)
            return reader.load(), reader.at

        starts, keys = [0], None
        for number in range(5):
            keys, at = load(starts[-1], table_without_sparse())
            starts.append(at)
            if number < 2 and keys != _LEGACY[number]:
                raise CorruptFileError(f"{where}: a plain pickle, not a file of torch.save")
        if not isinstance(keys, list) or len(keys) != len(storages.flat) or set(keys) != set(storages.flat):
            raise CorruptFileError(f"{where}: its list of storages is damaged")
        file.seek(starts[5])
        for key in keys:
            storages.fill(key, file, where)
        return load(starts[3], table())[0]


class _LegacyStorages:
    """Storages whose bytes are read later; all of them together fit the file."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.flat: dict[str, tuple[torch.Tensor, int]] = {}

    def fill(self, key: str, file: BinaryIO, where: str) -> None:
        """Read the bytes of a storage: their number, then they."""
        flat, width = self.flat[key]
        count = file.read(8)
        if len(count) < 8 or int.from_bytes(count, "little") * width != flat.numel():
            raise CorruptFileError(f"{where}: storage '{shown(key)}' is truncated or of another size")
        if flat.numel() and file.readinto(flat.numpy().data) != flat.numel():  # type: ignore[attr-defined]
            raise CorruptFileError(f"{where}: ended inside storage '{shown(key)}'")

    def __call__(self, identity: Any) -> Storage:
        if isinstance(identity, tuple) and identity[:1] == ("module",):
            raise ForbiddenGlobal("__main__.Module")
        require(isinstance(identity, tuple) and len(identity) == 6, "a persistent id of no storage")
        kind, stored, key, _, count, view = identity
        require(kind == "storage" and type(key) is str and type(count) is int, "a persistent id")
        require(0 <= count < 1 << 60, "a storage out of range")
        dtype = storage_type(stored)
        if key not in self.flat:
            size = count * dtype.itemsize
            self.left -= size
            require(self.left >= 0, "storages that are larger than the file")
            self.flat[key] = torch.zeros(size, dtype=torch.uint8), dtype.itemsize
        untyped = self.flat[key][0].untyped_storage()
        if view is not None:
            require(isinstance(view, tuple) and len(view) == 3, "a view of a storage")
            _, start, length = view
            fits = type(start) is int and type(length) is int and start >= 0 <= length
            require(fits and (start + length) * dtype.itemsize <= untyped.nbytes(), "a view of a storage")
            part = self.flat[key][0][start * dtype.itemsize : (start + length) * dtype.itemsize]
            made: torch.UntypedStorage = part.untyped_storage()[
                start * dtype.itemsize : (start + length) * dtype.itemsize
            ]
            return Storage(made, dtype)
        return Storage(untyped, dtype)
