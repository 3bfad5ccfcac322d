"""An archive written once and read for ever; and what becomes of it when any byte changes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from sparse_export.errors import CorruptFileError, InputError
from sparse_export.exporter import archive
from sparse_export.exporter.files import sandbox

FILE = Path(__file__).parent / "archive-v1.packed.safetensors"
#: SHA-256 of the dense bytes, as they were when the file was written (tools/goldens/archive.py).
EXPECTED = {
    "net.conv.weight": ("F32", "(4, 3, 3, 3)", "2a0730a7feba4cb9"),
    "net.half": ("F16", "(5, 20)", "6d2b5a71e9045e52"),
    "net.signs": ("F32", "(3, 16)", "4acdcc92cdbbd36f"),
    "net.zeros": ("F32", "(6,)", "7fd0131fa29e1bbc"),
    "net.tied": ("F32", "(4, 3, 3, 3)", "2a0730a7feba4cb9"),
    "step": ("I64", "()", "aae89fc0f03e2959"),
}


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()[:16]


def read(data: bytes, folder: Path) -> dict[str, np.ndarray]:
    path = folder / "x.safetensors"
    path.write_bytes(data)
    with sandbox.here():  # thousands of files
        return archive.arrays(path, threads=1, max_dense=1 << 16)


def test_golden_archive_decodes_to_the_committed_bits() -> None:
    found = archive.arrays(FILE)
    assert list(found) == list(EXPECTED)
    tensors = archive.info(FILE).tensors
    for name, (dtype, shape, bits) in EXPECTED.items():
        assert (str(found[name].shape), digest(found[name])) == (shape, bits), name
        assert name not in tensors or tensors[name]["dtype"] == dtype
    assert archive.info(FILE).tied == {"net.tied": "net.conv.weight"}
    assert archive.load(FILE)["acc"] == 91.07


def test_golden_archive_opens_in_the_safetensors_library() -> None:
    assert set(safetensors.numpy.load_file(FILE)) == {"chunk0", "index"}


def test_every_byte_mutated_four_ways_is_refused_or_harmless(tmp_path: Path) -> None:
    good = {name: digest(array) for name, array in archive.arrays(FILE).items()}
    data = bytearray(FILE.read_bytes())
    for index, byte in enumerate(data):
        for mutated in {byte ^ 0x01, byte ^ 0x80, 0x00, 0xFF} - {byte}:
            data[index] = mutated
            try:
                found = read(bytes(data), tmp_path)
            except InputError as error:
                assert str(error)
            else:
                assert {name: digest(array) for name, array in found.items()} == good
        data[index] = byte


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    data = FILE.read_bytes()
    for length in range(len(data)):
        with pytest.raises(CorruptFileError):
            read(data[:length], tmp_path)
