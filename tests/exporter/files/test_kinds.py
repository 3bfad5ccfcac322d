"""A kind of file is a row of a table: how it is known, and what reads it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from sparse_export.errors import CorruptFileError, UnsupportedError
from sparse_export.exporter import checkpoint
from sparse_export.exporter.files import kinds
from sparse_export.exporter.files.raw import Raw, Reading

MAGIC = b"TOY1"


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind of file that nobody knew: a magic number, then float32 weights."""

    def read(path: Path, reading: Reading) -> Raw:
        values = np.frombuffer(path.read_bytes()[4:], np.float32).copy()
        return Raw("state-dict", {"fc.weight": torch.from_numpy(values)}, limit=path.stat().st_size)

    module = ModuleType("toy_file")
    module.read = read  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, f"{kinds.__package__}.toy_file", module)
    row = kinds.Kind(lambda file: file.head.startswith(MAGIC), "toy_file")
    monkeypatch.setitem(kinds.KINDS, "toy", row)


def test_a_row_and_its_reader_are_a_new_kind_of_source(toy: None, tmp_path: Path) -> None:
    path = tmp_path / "model.toy"
    path.write_bytes(MAGIC + np.float32([0, 2, 0, -1]).tobytes())
    assert kinds.identify(path) == "toy"
    assert checkpoint.load(path).tensors["fc.weight"].tolist() == [0, 2, 0, -1]


def test_without_its_row_the_file_is_of_no_kind(tmp_path: Path) -> None:
    path = tmp_path / "model.toy"
    path.write_bytes(MAGIC + bytes(16))
    with pytest.raises(CorruptFileError, match="54 4f 59 31"):
        kinds.identify(path)


def test_a_file_that_two_rows_know_is_of_the_first(tmp_path: Path) -> None:
    """A tar is refused as such although its head could begin a safetensors file."""
    head = (32).to_bytes(8, "little") + b"{" + bytes(248) + b"ustar"
    path = tmp_path / "model.safetensors"
    path.write_bytes(head + bytes(512))
    with pytest.raises(UnsupportedError, match="tar checkpoint"):
        kinds.identify(path)
    assert list(kinds.KINDS).index("tar") < list(kinds.KINDS).index("safetensors")
