"""The header of a container: where each tensor lies. Validated here, and nowhere else looked at.

Layout (https://github.com/huggingface/safetensors#format): 8 bytes little-endian header length n, n bytes
of JSON mapping names to dtype, shape and data offsets, then the data. Refused, each with its own message:
a header over 32 MB or not exactly UTF-8 JSON, a key twice, numbers that are not plain integers, unknown
dtypes, data that overlaps, leaves a hole or does not end at the end of the file, control characters in
names.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from ....errors import CorruptFileError
from ..budget import MAX_HEADER
from .strict_json import strict_json

HEADER_LIMIT = MAX_HEADER
NAME_LIMIT = 1024
MAX_RANK = 8
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


def check_length(length: int, size: int, where: str) -> None:
    """Refuse a header length that is over the limit or does not fit a file of `size` bytes."""
    if length > HEADER_LIMIT:
        raise CorruptFileError(f"{where}: header of {length} bytes is over the limit of {HEADER_LIMIT}")
    if length > size - 8:
        raise CorruptFileError(f"{where}: header of {length} bytes does not fit a file of {size}")
    if length < 2:
        raise CorruptFileError(f"{where}: header of {length} bytes cannot hold a JSON object")


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
    if math.prod(max(1, n) for n in shape) * dtype.itemsize >= 1 << 62:
        raise CorruptFileError(f"{place}: an empty shape whose other axes overflow")
    return Entry(dtype, shape, offsets[0], offsets[1])


def _sizes(value: Any, place: str) -> tuple[int, ...]:
    """A list of integers in [0, 2^48)."""
    if not isinstance(value, list) or not all(type(n) is int and 0 <= n < 1 << 48 for n in value):
        raise CorruptFileError(f"{place}: must be a list of integers in [0, 2^48)")
    return tuple(value)
