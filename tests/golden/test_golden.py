"""Files written once and decoded for ever; and what becomes of them when any byte changes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from sparse_export import formats
from sparse_export.errors import CorruptFileError, InputError
from sparse_export.exporter.files.container.header import DTYPE_NAMES
from sparse_export.formats.base import as_bits
from sparse_export.formats.parts import packed_file

HERE = Path(__file__).parent
EXPECTED = json.loads((HERE / "expected.json").read_text())
FILES = pytest.mark.parametrize("name", sorted(EXPECTED))


def decode(data: bytes) -> np.ndarray:
    """The dense array of a packed file of at most a megabyte dense."""
    packed = packed_file.load(data)
    return formats.get(packed.format).unpack(packed, max_bytes=1 << 20)


def test_every_example_of_every_format_has_a_golden_file() -> None:
    for fmt in formats.all_formats():
        for name, _ in fmt.examples():
            assert f"{fmt.name}-{name}-v{fmt.version}.safetensors" in EXPECTED


@FILES
def test_golden_file_decodes_to_the_committed_bits(name: str) -> None:
    dtype, shape, bits = EXPECTED[name]
    array = decode((HERE / name).read_bytes())
    assert (DTYPE_NAMES[array.dtype], list(array.shape)) == (dtype, shape)
    assert as_bits(array).tobytes().hex() == bits


@FILES
def test_golden_file_opens_in_the_safetensors_library(name: str) -> None:
    tensors = safetensors.numpy.load((HERE / name).read_bytes())
    assert set(tensors) == set(packed_file.load((HERE / name).read_bytes()).components)


@FILES
def test_every_byte_mutated_four_ways_is_refused_or_decodes(name: str) -> None:
    data = bytearray((HERE / name).read_bytes())
    for index, byte in enumerate(data):
        for mutated in {byte ^ 0x01, byte ^ 0x80, 0x00, 0xFF} - {byte}:
            data[index] = mutated
            try:
                array = decode(bytes(data))
            except InputError as error:
                assert str(error)
            else:
                assert array.nbytes <= 1 << 20
        data[index] = byte


@FILES
def test_every_truncation_is_refused(name: str) -> None:
    data = (HERE / name).read_bytes()
    for length in range(len(data)):
        with pytest.raises(CorruptFileError):
            decode(data[:length])
    with pytest.raises(CorruptFileError):
        decode(data + b"\0")


@FILES
def test_the_specification_alone_is_enough_to_read_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HERE.parents[1] / "docs")
    import reader

    dtype, shape, bits = EXPECTED[name]
    _, found, array = reader.read((HERE / name).read_bytes())
    assert (found, list(array.shape)) == (dtype, shape)
    assert array.tobytes().hex() == bits
