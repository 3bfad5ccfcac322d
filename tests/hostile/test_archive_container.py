"""Hostile inputs, part A: containers whose header breaks a rule; one literal file a test."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from sparse_export.errors import CorruptFileError, InputError
from sparse_export.exporter.files import container
from sparse_export.exporter.files.container import header

GOOD = {"a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}}


def pack(header: object, data: bytes = b"\1\2", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(**changes: object) -> dict[str, object]:
    return {"a": GOOD["a"] | changes}


def refused(data: bytes, match: str, tmp_path: Path | None = None) -> None:
    with pytest.raises(CorruptFileError, match=match):
        container.loads(data)
    if tmp_path is not None:
        path = tmp_path / "file.safetensors"
        path.write_bytes(data)
        with pytest.raises(CorruptFileError, match=match):
            container.Container(path)


def test_the_unbroken_file_is_read() -> None:
    tensors, metadata = container.loads(pack(GOOD))
    assert tensors["a"].tolist() == [1, 2]
    assert metadata == {}


def test_h01_rejects_empty_file(tmp_path: Path) -> None:
    refused(b"", "too few", tmp_path)


@pytest.mark.parametrize("size", range(1, 8))
def test_h02_rejects_fewer_bytes_than_a_header_length(size: int, tmp_path: Path) -> None:
    refused(b"\1" * size, "too few", tmp_path)


def test_h03_h04_rejects_random_bytes_and_foreign_magic(rng) -> None:
    for magic in (b"", b"PK\3\4", b"\x7fELF", b"GGUF", b"\x80\x02", b"\x08\x00"):
        refused(magic + rng.bytes(500), "header")


@pytest.mark.parametrize("length", [0, 1, 65, 66, 1 << 63, (1 << 64) - 1])
def test_h06_rejects_impossible_header_lengths(length: int, tmp_path: Path) -> None:
    refused(pack(GOOD, length=length), "header", tmp_path)


def test_h07_rejects_header_over_the_limit() -> None:
    refused(pack(b"{" + b" " * header.HEADER_LIMIT + b"}"), "over the limit")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (b'{"\xff":{}}', "UTF-8"),
        (b'{"\xed\xa0\x80":{}}', "UTF-8"),
        (b'\xef\xbb\xbf{"a":{}}', "does not start"),
        (b" {}", "does not start"),
        (json.dumps({"\ud800": GOOD["a"]}).encode(), "half a character"),
    ],
)
def test_h08_rejects_headers_that_are_not_clean_utf8(text: bytes, match: str) -> None:
    refused(pack(text), match)


def test_h09_rejects_truncated_json() -> None:
    refused(pack(json.dumps(GOOD).encode()[:-1]), "not valid JSON")


@pytest.mark.timeout(30)
@pytest.mark.parametrize("unit", [b"[", b'{"a":'])
def test_h10_rejects_deep_nesting(unit: bytes) -> None:
    refused(pack(b'{"a":' + unit * 100_000), "nested too deep|not valid JSON")
    refused(pack(b'{"a":' + unit * 400), "not valid JSON")


def test_h11_rejects_five_thousand_digit_integer() -> None:
    refused(
        pack(b'{"a":{"dtype":"U8","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,2]}}'), "only integers"
    )


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"2.0", b"2e0"])
def test_h12_h14_rejects_numbers_that_are_not_integers(number: bytes) -> None:
    refused(
        pack(b'{"a":{"dtype":"U8","shape":[' + number + b'],"data_offsets":[0,2]}}'),
        "only integers are allowed",
    )


def test_h13_rejects_duplicate_keys() -> None:
    one = json.dumps(GOOD["a"]).encode()
    refused(pack(b'{"a":' + one + b',"a":' + one + b"}"), "twice")
    refused(pack(b'{"a":{"dtype":"U8","dtype":"U8","shape":[2],"data_offsets":[0,2]}}'), "twice")


@pytest.mark.parametrize("value", [True, "2", None, [2], -1, 1 << 53, 1 << 63])
def test_h14_h15_h16_rejects_sizes_that_are_not_plain_small_integers(value: object) -> None:
    refused(pack(entry(shape=[value])), "integers in")
    refused(pack(entry(data_offsets=[0, value])), "integers in")


def test_h16_rejects_number_strings_python_would_accept() -> None:
    for text in ("２", "1_0", " 2"):
        refused(pack(entry(shape=[text])), "integers in")
    refused(pack(b'{"a":{"dtype":"U8","shape":[1_0],"data_offsets":[0,2]}}'), "not valid JSON")


@pytest.mark.parametrize("dtype", ["U7", "", "u8", 8, None, ["U8"], "F4"])
def test_h17_rejects_unknown_dtypes(dtype: object) -> None:
    refused(pack(entry(dtype=dtype)), "unknown dtype")


def test_h17_rejects_more_than_eight_dimensions_and_reads_zero_ones() -> None:
    refused(pack(entry(shape=[1] * 8 + [2])), "8 dimensions")
    scalar = {"a": {"dtype": "U8", "shape": [], "data_offsets": [0, 1]}}
    assert container.loads(pack(scalar, b"\7"))[0]["a"].shape == ()
    empty = {"a": {"dtype": "F32", "shape": [0, 3], "data_offsets": [0, 0]}}
    assert container.loads(pack(empty, b""))[0]["a"].shape == (0, 3)


def test_h18_rejects_shape_products_that_overflow() -> None:
    refused(pack(entry(shape=[1 << 47, 1 << 47, 1 << 47])), "differ in size")
    refused(pack(entry(shape=[1 << 32, 1 << 32])), "differ in size")


@pytest.mark.parametrize(
    ("offsets", "match"),
    [([1, 3], "hole"), ([2, 0], "start <= stop"), ([0, 3], "differ in size"), ([0], "start <= stop")],
)
def test_h19_rejects_offsets_that_do_not_tile_the_data(offsets: list[int], match: str) -> None:
    refused(pack(entry(data_offsets=offsets)), match)


def test_h19_rejects_overlap() -> None:
    other = {"dtype": "U8", "shape": [2], "data_offsets": [1, 3]}
    refused(pack(GOOD | {"b": other}, b"\1\2\3"), "overlaps")


def test_h19_h20_rejects_missing_and_trailing_bytes(tmp_path: Path) -> None:
    refused(pack(GOOD, b"\1"), "describes 2 bytes", tmp_path)
    refused(pack(GOOD, b"\1\2\3"), "describes 2 bytes", tmp_path)
    refused(pack(GOOD) + b"PK\3\4", "describes 2 bytes", tmp_path)


@pytest.mark.timeout(30)
def test_h21_reads_a_hundred_thousand_tensors() -> None:
    header = {str(i): {"dtype": "U8", "shape": [1], "data_offsets": [i, i + 1]} for i in range(100_000)}
    assert len(container.loads(pack(header, bytes(100_000)))[0]) == 100_000


@pytest.mark.parametrize("name", ["", "x" * 2000, "a\0b", "a\nb", "a\x1b[31mb", "\u202eb"])
def test_h22_rejects_names_that_could_harm_a_terminal(name: str) -> None:
    with pytest.raises(CorruptFileError, match="tensor name") as caught:
        container.loads(pack({name: GOOD["a"]}))
    assert str(caught.value).isprintable() and len(str(caught.value)) < 200


def test_h24_rejects_a_header_length_in_big_endian(tmp_path: Path) -> None:
    good = pack(GOOD)
    refused(good[:8][::-1] + good[8:], "header", tmp_path)


def test_h25_refuses_what_is_not_a_regular_file(tmp_path: Path) -> None:
    fifo, loop, sock = tmp_path / "fifo", tmp_path / "loop", tmp_path / "socket"
    os.mkfifo(fifo)
    loop.symlink_to(loop)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(sock))
    for path in (tmp_path, fifo, loop, sock, Path("/dev/zero"), tmp_path / "missing"):
        with pytest.raises(InputError, match=r"directory|regular|cannot be read"):
            container.Container(path)
    server.close()


def test_h26_refuses_a_sparse_file_of_a_terabyte_at_once(tmp_path: Path) -> None:
    path = tmp_path / "huge.safetensors"
    with path.open("wb") as file:
        file.write(pack(GOOD))
        file.truncate(1 << 40)
    with pytest.raises(CorruptFileError, match="describes 2 bytes"):
        container.Container(path)
