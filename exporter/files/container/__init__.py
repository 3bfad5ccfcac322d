"""The container: a safetensors file, written and read; all trust in its header is in `header`."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ....errors import CorruptFileError, InputError
from .header import Header, check_length, header_bytes, parse_header, storage_order

Array = NDArray[Any]


def write(file: BinaryIO, tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> int:
    """Write a container, widest dtypes first so that all data is aligned; return its bytes."""
    head = header_bytes({name: (array.dtype, array.shape) for name, array in tensors.items()}, metadata)
    file.write(head)
    written = len(head)
    for name in storage_order({name: array.dtype for name, array in tensors.items()}):
        data = np.ascontiguousarray(tensors[name]).tobytes()
        file.write(data)
        written += len(data)
    return written


class Container:
    """A container opened for reading; tensors are read one at a time.

    Parameters
    ----------
    path
        A regular file.

    Raises
    ------
    InputError
        If there is no such regular file.
    CorruptFileError
        If the file breaks a rule of the format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open_regular(path)
        try:
            size = os.fstat(self._file.fileno()).st_size
            self.header = _read_header(self._file, size, str(path))
        except BaseException:
            self._file.close()
            raise
        self.entries = self.header.entries
        self.metadata = self.header.metadata

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Array:
        """The tensor, or elements [start, stop) of it as a vector; a fresh array."""
        entry = self.entries[name]
        count = math.prod(entry.shape)
        whole = start == 0 and stop is None
        stop = count if stop is None else stop
        array = np.empty(stop - start, entry.dtype)
        view = memoryview(array.view(np.uint8).data)
        offset = self.header.data + entry.start + start * entry.dtype.itemsize
        done = 0
        while done < len(view):
            # pread has no shared position: threads can read at once.
            got = os.preadv(self._file.fileno(), [view[done:]], offset + done)
            if got == 0:
                raise CorruptFileError(f"{self.path}: tensor '{name}': the file ends inside its data")
            done += got
        return array.reshape(entry.shape) if whole else array


def loads(data: bytes, where: str = "container") -> tuple[dict[str, Array], dict[str, str]]:
    """Tensors and metadata of a container in memory."""
    if len(data) < 8:
        raise CorruptFileError(f"{where}: {len(data)} bytes are too few for a header length")
    length = int.from_bytes(data[:8], "little")
    check_length(length, len(data), where)
    header = parse_header(data[8 : 8 + length], len(data) - 8 - length, where)
    tensors = {}
    for name, entry in header.entries.items():
        raw = data[8 + length + entry.start : 8 + length + entry.stop]
        tensors[name] = np.frombuffer(raw, entry.dtype).reshape(entry.shape)
    return tensors, header.metadata


def open_regular(path: Path) -> BinaryIO:
    """The file opened for reading, if it is a regular file (never waits on a pipe or a device)."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 (Path.stat hides a symlink loop's message)
        if stat.S_ISDIR(mode):
            raise InputError(f"{path}: is a directory; give a file")
        if not stat.S_ISREG(mode):
            raise InputError(f"{path}: is not a regular file")
        return Path(path).open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _read_header(file: BinaryIO, size: int, where: str) -> Header:
    """Read and validate the header of an open file of that size."""
    head = file.read(8)
    if len(head) < 8:
        raise CorruptFileError(f"{where}: {len(head)} bytes are too few for a header length")
    length = int.from_bytes(head, "little")
    check_length(length, size, where)
    return parse_header(file.read(length), size - 8 - length, where)
