"""Archives whose index lies: sizes, names and repeats that are not in the bytes."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparse_export.exporter import api, archive, checkpoint
from sparse_export.exporter.files import budget, container

from .builders import archive_of, little, refused, safetensors_of

HUGE = (1 << 48) - 1


def one(shape: list[int], **more: Any) -> dict[str, Any]:
    return {"dtype": ["F32"], "shape": [shape], "kind": [0]} | more


def bomb(count: int = 12) -> bytes:
    """Constant tensors of 128 MB each, in two kilobytes."""
    piece = 1 << 24
    crc = zlib.crc32(np.ones(piece, np.float32).data)
    columns = {
        "size": piece,
        "entries": piece,
        "escapes": 0,
        "values": 0,
        "positions": -1,
        "signs": -1,
        "crc": crc,
    }
    parts = 2 * count
    return archive_of(
        ["d", [f"t{i}" for i in range(count)], list(range(count))],
        tensors={"dtype": ["F32"] * count, "shape": [[4096, 8192]] * count, "kind": [0] * count},
        pieces={name: [value] * parts for name, value in columns.items()},
        segments={"kind": [0] * parts, "parameters": [[1, 0, 0]] * parts, "streams": [[4]] * parts},
        chunks={"pieces": [1] * parts, "segments": [1] * parts},
        streams=[np.float32([1.0]).tobytes()] * parts,
    )


A = ["d", ["a"], [0]]
CASES: dict[str, tuple[bytes, str]] = {
    "constant tensors of gigabytes": (bomb(), "raise it with --max-dense"),
    "an empty shape that overflows": (archive_of(A, tensors=one([0, HUGE, HUGE])), "over 2\\^48"),
    "an empty shape at the end that overflows": (archive_of(A, tensors=one([HUGE, HUGE, 0])), "over 2\\^48"),
    "nine axes": (archive_of(A, tensors=one([0] * 9)), "shape is out of range"),
    "a negative stride": (archive_of(A, tensors=one([0, 1], strides={"0": [1, -1]})), "strides"),
    "a stride of 2^63": (archive_of(A, tensors=one([1, 0], strides={"0": [1 << 62, 1]})), "strides"),
    "strides of text": (archive_of(A, tensors=one([1, 0], strides={"0": ["1", 1]})), "strides"),
    "strides of another tensor": (archive_of(A, tensors=one([0], strides={"1": [1]})), "strides"),
    "strides by a number of another script": (archive_of(A, tensors=one([0], strides={"٠": [1]})), "strides"),
    "half a character in a name": (archive_of(["d", ["a\ud800"], [0]], tensors=one([0])), "surrogate"),
    "half a character in a value": (
        archive_of(["d", ["a", "b"], [0, ["v", "\udc00"]]], tensors=one([0])), "surrogate"
    ),
    "a long key above many leaves": (
        archive_of(["d", ["k" * 100_000], [["l", *([0] * 30_000)]]], tensors=one([0])), "too long"
    ),
    "keys that are long together": (
        archive_of(["d", ["k" * 4000], [["l", *([0] * 30_000)]]], tensors=one([0])), "too long"
    ),
    "long keys in each other": (
        archive_of(["d", ["k" * 2000], [["d", ["k" * 2000], [["d", ["k" * 2000], [0]]]]]], tensors=one([0])),
        "too long",
    ),
    "nested too deep": (archive_of(0, raw=b'{"tree":' + b"[" * 400 + b"]" * 400 + b"}"), "."),
    "nested deeper": (archive_of(0, raw=b"[" * 2_000_000), "nested|says it is"),
    "an index that is all brackets": (archive_of(0, raw=b"[" + b"[]," * 2_000_000 + b"[]]"), "says it is"),
    "an index of 200 MB": (archive_of(0, raw=bytes(200_000_000)), "says it is"),
    "one key many times": (
        archive_of(0, raw=b"{" + b",".join(b'"%d":0' % i for i in range(120_000)) + b',"7":0}'), "twice"
    ),
    "a leaf that is no tensor": (archive_of(["d", ["a"], [1]], tensors=one([0])), "tensor 1 of 1"),
    "pieces that are not there": (archive_of(A, tensors=one([4])), "pieces are missing"),
    "a tensor of no floats that is scaled": (
        archive_of(A, tensors={"dtype": ["I8"], "shape": [[0]], "kind": [1]}), "scaled"
    ),
    "columns of different lengths": (archive_of(A, tensors=one([0], dtype=["F32"] * 2)), "differ in length"),
    "a number that is none": (archive_of(A, raw=b'{"tree":1e999}'), "only integers"),
}  # fmt: skip
READERS: dict[str, Callable[[Path], Any]] = {
    "load": lambda path: checkpoint.load(path),
    "arrays": lambda path: archive.arrays(path),
    "inspect": lambda path: api.inspect(path),
    "unpack": lambda path: archive.unpack(path, path.with_name("out.pt")),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize(("data", "what"), CASES.values(), ids=CASES)
def test_index_that_lies_is_refused_by_every_reader(
    tmp_path: Path, data: bytes, what: str, read: Callable[[Path], Any]
) -> None:
    path = tmp_path / "x.packed.safetensors"
    path.write_bytes(data)
    message = refused(tmp_path, lambda: read(path))
    assert re.search(what, message), message


def test_a_raised_limit_lets_an_honest_constant_through(tmp_path: Path) -> None:
    path = tmp_path / "x.packed.safetensors"
    path.write_bytes(bomb(1))
    assert "134,217,728 bytes" in refused(tmp_path, lambda: archive.arrays(path))
    with budget.raised(dense=1 << 30):
        assert archive.arrays(path)["t0"].shape == (4096, 8192)


HEADERS: dict[str, tuple[Any, str]] = {
    "an empty shape that overflows": (
        {"a": {"dtype": "F32", "shape": [0, 1 << 47, 1 << 47], "data_offsets": [0, 0]}},
        "overflow",
    ),
    "one key many times": (
        b"{" + b",".join(b'"%d":0' % i for i in range(120_000)) + b',"119999":0}',
        "twice",
    ),
    "a name of half a character": (
        b'{"a\\ud800":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}',
        "surrogate",
    ),
    "a name that is not printable": (
        {"a\u202eb": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}},
        "not printable",
    ),
    "a name of a megabyte": (
        {"a" * (1 << 20): {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}},
        "too long",
    ),
}


@pytest.mark.parametrize(("header", "what"), HEADERS.values(), ids=HEADERS)
def test_safetensors_header_that_lies_is_refused(tmp_path: Path, header: Any, what: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors_of(header))
    for read in (
        lambda: checkpoint.load(path),
        lambda: archive.write(path, tmp_path / "out"),
        lambda: container.Container(path),
    ):
        assert re.search(what, refused(tmp_path, read))


def test_a_hundred_thousand_tensors_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    path.write_bytes(safetensors_of({f"t{i}": entry for i in range(20_000)}))
    with little():
        container.Container(path).close()
