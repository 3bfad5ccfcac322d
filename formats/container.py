"""The container: a safetensors file, read strictly.

Layout (https://github.com/huggingface/safetensors#format): 8 bytes little-endian header length n, n bytes
of JSON mapping names to dtype, shape and data offsets, then the data. All trust in a file is here:
`parse_header` reads and validates, nothing else looks at a header. Refused, each with its own message:
a header over 8 MB or not exactly UTF-8 JSON, a key twice, numbers that are not plain integers, unknown
dtypes, data that overlaps, leaves a hole or does not end at the end of the file, control characters in
names.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import ml_dtypes
import numpy as np

from ..errors import CorruptFileError, InputError
from .base import Array

HEADER_LIMIT = 8 << 20
NAME_LIMIT = 1024
MAX_RANK = 8
MAX_DEPTH = 8
DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "I16": np.dtype(np.int16),
    "U16": np.dtype(np.uint16),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I32": np.dtype(np.int32),
    "U32": np.dtype(np.uint32),
    "F32": np.dtype(np.float32),
    "C64": np.dtype(np.complex64),
    "F64": np.dtype(np.float64),
    "I64": np.dtype(np.int64),
    "U64": np.dtype(np.uint64),
}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Entry:
    """One tensor of a container: where it lies, counted from the first byte behind the header."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class Header:
    """A validated header; `data` is the file offset of the first data byte."""

    entries: dict[str, Entry]
    metadata: dict[str, str]
    data: int


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


def storage_order(dtypes: Mapping[str, np.dtype[Any]]) -> list[str]:
    """Names in the order in which their data is stored."""
    return sorted(dtypes, key=lambda name: -dtypes[name].itemsize)


def header_bytes(
    tensors: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]], metadata: Mapping[str, str]
) -> bytes:
    """Length and header of a container of tensors stored in `storage_order`."""
    places, offset = {}, 0
    for name in storage_order({name: dtype for name, (dtype, _) in tensors.items()}):
        dtype, shape = tensors[name]
        places[name] = (offset, offset + math.prod(shape) * dtype.itemsize)
        offset = places[name][1]
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    for name, (dtype, shape) in tensors.items():
        header[name] = {
            "dtype": DTYPE_NAMES[dtype],
            "shape": list(shape),
            "data_offsets": list(places[name]),
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


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
    _check_length(length, len(data), where)
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


def parse_header(text: bytes, data_bytes: int, where: str) -> Header:
    """Validate the JSON of a header against the bytes of data that follow it.

    Raises
    ------
    CorruptFileError
        Naming the rule that is broken and the tensor.
    """
    parsed = strict_json(text, where)
    if not isinstance(parsed, dict):
        raise CorruptFileError(f"{where}: header is not a JSON object")
    metadata = parsed.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise CorruptFileError(f"{where}: __metadata__ must map strings to strings")
    entries = {name: _entry(name, value, where) for name, value in parsed.items()}
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].stop)):
        if entry.start != end:
            kind = "overlaps what is before it" if entry.start < end else f"leaves a hole at {end}"
            raise CorruptFileError(f"{where}: tensor '{name}': data {kind}")
        end = entry.stop
    if end != data_bytes:
        raise CorruptFileError(f"{where}: header describes {end} bytes of data, the file has {data_bytes}")
    return Header(entries, metadata, 8 + len(text))


def strict_json(text: bytes, where: str) -> Any:
    """JSON without what a careless parser lets through: duplicate keys, floats, NaN, deep nesting, BOM."""
    if text[:1] not in (b"{", b"["):
        raise CorruptFileError(f"{where}: header does not start with '{{'")
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CorruptFileError(f"{where}: header is not UTF-8 at byte {error.start}") from None
    _check_depth(text, where)

    def refuse(value: str) -> NoReturn:
        raise CorruptFileError(f"{where}: header holds the number {value[:40]}; only integers are allowed")

    def integer(value: str) -> int:
        if len(value) > 19:
            refuse(value)
        return int(value)

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) != len(items):
            names = [name for name, _ in items]
            twice = next(name for name in result if names.count(name) > 1)
            raise CorruptFileError(f"{where}: header has the key {twice[:80]!r} twice")
        return result

    try:
        parsed = json.loads(
            decoded,
            object_pairs_hook=pairs,
            parse_constant=refuse,
            parse_float=refuse,
            parse_int=integer,
        )
    except (json.JSONDecodeError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deep"
        raise CorruptFileError(f"{where}: header is not valid JSON: {reason}") from None
    return parsed


def _check_depth(text: bytes, where: str) -> None:
    """Refuse nesting that no header needs before the recursive parser sees it."""
    data = np.frombuffer(text, np.uint8)
    opened = (data == ord("{")) | (data == ord("["))
    closed = (data == ord("}")) | (data == ord("]"))
    # Brackets inside strings count too: a bound from above would refuse names, so look only when large.
    depth = np.cumsum(opened.astype(np.int32) - closed, dtype=np.int64)
    if int(depth.max(initial=0)) > 500:
        raise CorruptFileError(f"{where}: header is nested too deep")


def _check_length(length: int, size: int, where: str) -> None:
    if length > HEADER_LIMIT:
        raise CorruptFileError(f"{where}: header of {length} bytes is over the limit of {HEADER_LIMIT}")
    if length > size - 8:
        raise CorruptFileError(f"{where}: header of {length} bytes does not fit a file of {size}")
    if length < 2:
        raise CorruptFileError(f"{where}: header of {length} bytes cannot hold a JSON object")


def _read_header(file: BinaryIO, size: int, where: str) -> Header:
    """Read and validate the header of an open file of that size."""
    head = file.read(8)
    if len(head) < 8:
        raise CorruptFileError(f"{where}: {len(head)} bytes are too few for a header length")
    length = int.from_bytes(head, "little")
    _check_length(length, size, where)
    return parse_header(file.read(length), size - 8 - length, where)


def _entry(name: str, value: Any, where: str) -> Entry:
    """One validated tensor entry."""
    if not name or len(name) > NAME_LIMIT or not name.isprintable():
        raise CorruptFileError(f"{where}: tensor name {name[:40]!r} is empty, too long or not printable")
    place = f"{where}: tensor '{name}'"
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise CorruptFileError(f"{place}: must have exactly dtype, shape and data_offsets")
    dtype = DTYPES.get(value["dtype"]) if isinstance(value["dtype"], str) else None
    if dtype is None:
        raise CorruptFileError(f"{place}: unknown dtype {str(value['dtype'])[:40]!r}")
    shape = _sizes(value["shape"], f"{place}: shape")
    offsets = _sizes(value["data_offsets"], f"{place}: data_offsets")
    if len(shape) > MAX_RANK:
        raise CorruptFileError(f"{place}: more than {MAX_RANK} dimensions")
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise CorruptFileError(f"{place}: data_offsets must be [start, stop] with start <= stop")
    if math.prod(shape) * dtype.itemsize != offsets[1] - offsets[0]:
        raise CorruptFileError(f"{place}: shape and data_offsets differ in size")
    return Entry(dtype, shape, offsets[0], offsets[1])


def _sizes(value: Any, place: str) -> tuple[int, ...]:
    """A list of integers in [0, 2^48)."""
    if not isinstance(value, list) or not all(type(n) is int and 0 <= n < 1 << 48 for n in value):
        raise CorruptFileError(f"{place}: must be a list of integers in [0, 2^48)")
    return tuple(value)
