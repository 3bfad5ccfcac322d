"""Files made byte by byte, as no honest writer would make them, and what every refusal of one must be."""

from __future__ import annotations

import io
import json
import resource
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import zstandard
from onnx import TensorProto, helper

from sparse_export import InputError
from sparse_export.exporter.files import container, sandbox

#: Address space and processor time that refusing a file may take.
ROOM = 300 << 20
SECONDS = 2.0


@contextmanager
def little() -> Iterator[None]:
    """At most 300 MB and 2 s, in this process: what the checks cost without the child that guards them."""
    with Path("/proc/self/statm").open() as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + ROOM, hard))
    started = time.process_time()
    try:
        with sandbox.here():
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert time.process_time() - started < SECONDS


def refused(folder: Path, call: Callable[[], Any]) -> str:
    """The one line with which `call` refuses, quickly, in little memory, and leaving nothing behind."""
    before = sorted(folder.rglob("*"))
    with little(), pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and message.isprintable() and len(message) < 500
    assert caught.value.exit_code == 2
    assert sorted(folder.rglob("*")) == before
    return message


# Zips


def local(name: bytes, data: bytes, flags: int = 0, crc: int | None = None) -> bytes:
    """A stored record."""
    crc = zlib.crc32(data) if crc is None else crc
    head = struct.pack(
        "<4sHHHHHIIIHH", b"PK\3\4", 20, flags, 0, 0, 33, crc, len(data), len(data), len(name), 0
    )
    return head + name + data


def central(name: bytes, data: bytes, offset: int, flags: int = 0, method: int = 0, **fields: int) -> bytes:
    """A record's entry in the directory."""
    size, stored = fields.get("size", len(data)), fields.get("stored", len(data))
    head = (b"PK\1\2", 20, 20, flags, method, 0, 33, zlib.crc32(data), stored, size, len(name))
    return struct.pack("<4sHHHHHHIIIHHHHHII", *head, 0, 0, 0, 0, 0, offset) + name


def end(count: int, size: int, offset: int, comment: bytes = b"") -> bytes:
    """The record at the end of a zip."""
    return struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, count, count, size, offset, len(comment)) + comment


def zipped(members: Sequence[tuple[bytes, bytes]], **options: int) -> bytes:
    """A zip of stored records, its directory with `options`."""
    body, entries = b"", b""
    for name, data in members:
        entries += central(name, data, len(body), **options)
        body += local(name, data, options.get("flags", 0))
    return body + entries + end(len(members), len(entries), len(body))


EMPTY = b"\x80\x02}."


def records(pickle: bytes = EMPTY, *more: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """What torch.save writes around a pickle."""
    return [(b"a/data.pkl", pickle), (b"a/version", b"3\n"), (b"a/byteorder", b"little"), *more]


def checkpoint_of(body: bytes, *more: tuple[bytes, bytes]) -> bytes:
    """A .pt file whose pickle is `body`."""
    return zipped(records(b"\x80\x02" + body + b".", *more))


def name(module: str, attribute: str) -> bytes:
    """GLOBAL."""
    return f"c{module}\n{attribute}\n".encode()


def text(value: str) -> bytes:
    """BINUNICODE."""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def integer(value: int) -> bytes:
    """LONG1."""
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


# Archives


def archive_of(tree: Any, *, tensors: Any = None, raw: bytes | None = None, **columns: Any) -> bytes:
    """An archive whose index is as given, with checksums that are right."""
    made: dict[str, Any] = {
        "tensors": {"dtype": [], "shape": [], "kind": [], "strides": {}} | (tensors or {}),
        "pieces": {
            name: [] for name in ("size", "entries", "escapes", "values", "positions", "signs", "crc")
        },
        "segments": {"kind": [], "parameters": [], "streams": []},
        "chunks": {"pieces": [], "segments": []},
    }
    streams = columns.pop("streams", ())
    for key, value in columns.items():
        made[key] = made[key] | value
    index = json.dumps({"tree": tree, "metadata": {}, "notes": []} | made, separators=(",", ":")).encode()
    stored = zstandard.ZstdCompressor().compress(index if raw is None else raw)
    parts = {f"chunk{i}": np.frombuffer(data, np.uint8) for i, data in enumerate(streams)}
    parts["index"] = np.frombuffer(stored, np.uint8)
    file = io.BytesIO()
    about = {"format": "sparse-export archive", "version": "1", "index_crc32": f"{zlib.crc32(stored):08x}"}
    container.write(file, parts, about)
    return file.getvalue()


# Safetensors


def safetensors_of(header: Any, data: bytes = b"") -> bytes:
    """A safetensors file with that header."""
    made = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return len(made).to_bytes(8, "little") + made + data


# ONNX


def onnx_of(
    nodes: Sequence[onnx.NodeProto],
    initializers: Sequence[onnx.TensorProto] = (),
    *,
    shape: Sequence[int | str] = (1,),
    functions: Sequence[onnx.FunctionProto] = (),
) -> onnx.ModelProto:
    """A model from x to y."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a"] * len(shape))],
        list(initializers),
    )
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10, functions=list(functions))


# Exported programs


def members_of(path: Path) -> dict[str, bytes]:
    """Contents of a zip, names without their folder."""
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def written(path: Path, members: dict[str, bytes]) -> Path:
    """A zip of those records."""
    path.write_bytes(zipped([(f"m/{name}".encode(), data) for name, data in members.items()]))
    return path
