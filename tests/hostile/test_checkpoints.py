"""Checkpoints made to break the reader: one clear line each, no code run, no memory taken."""

from __future__ import annotations

import io
import os
import pickle
import socket
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sparse_export import CorruptFileError, InputError, UnsupportedError
from sparse_export.exporter import checkpoint
from sparse_export.exporter.files import sandbox

from .refusal import refused

pytestmark = pytest.mark.usefixtures("little_memory")


class Bomb:
    """Its pickle makes a file when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrap", [lambda b: b, lambda b: {"net": {"w": torch.zeros(3)}, "args": [b]}])
def test_pickle_bomb_does_not_go_off(tmp_path: Path, legacy: bool, wrap: Callable[[Bomb], Any]) -> None:
    marker, path = tmp_path / "boom", tmp_path / "model.pt"
    torch.save(wrap(Bomb(marker)), path, _use_new_zipfile_serialization=not legacy)
    assert "is not only weights (its pickle calls posix.system)" in refused(path)
    assert not marker.exists()


def test_plain_pickle_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
    refused(path)
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "boom"), protocol=0))
    refused(path)
    assert not (tmp_path / "boom").exists()


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(b"")
    assert "empty (0 bytes)" in refused(path)


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors", "model.onnx", "model.pt2"])
@pytest.mark.parametrize("size", [1, 7, 8, 4096])
def test_random_bytes(tmp_path: Path, name: str, size: int) -> None:
    path = tmp_path / name
    path.write_bytes(bytes((i * 97 + 13) % 251 for i in range(size)))
    with pytest.raises(InputError):
        _ = checkpoint.load(path).onnx_model


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("legacy", [False, True])
def test_truncated_file(tmp_path: Path, kept: float, legacy: bool) -> None:
    path = tmp_path / "model.pt"
    torch.save({"w": torch.zeros(100, 100)}, path, _use_new_zipfile_serialization=not legacy)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(CorruptFileError):
        checkpoint.load(path)


def test_every_damaged_byte_of_the_pickle_is_survived(tmp_path: Path) -> None:
    path, damaged = tmp_path / "model.pt", tmp_path / "damaged.pt"
    torch.save({"w": torch.zeros(2, 2), "b": torch.zeros(2)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    data = members["model/data.pkl"]
    for place in range(0, len(data), 2):
        for value in (0, 0x52, 0xFF):
            changed = data[:place] + bytes([value]) + data[place + 1 :]
            with zipfile.ZipFile(damaged, "w") as archive:
                for name, content in (members | {"model/data.pkl": changed}).items():
                    archive.writestr(name, content)
            try:
                with sandbox.here():  # hundreds of files
                    checkpoint.load(damaged)
            except InputError as error:
                assert "\n" not in str(error)


def test_damage_that_only_the_checksum_shows(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"weight": torch.zeros(2, 2)}, path)
    path.write_bytes(path.read_bytes().replace(b"weight", b"weighs"))
    assert "data.pkl is damaged" in refused(path)


@pytest.mark.parametrize(
    ("order", "dtype"), [(b"little", "<f4"), (b"big", ">f4"), (b"middle", "<f4"), (b"", "<f4")]
)
def test_h24_big_endian_values_are_swapped_and_unknown_orders_refused(
    tmp_path: Path, order: bytes, dtype: str
) -> None:
    path = tmp_path / "model.pt"
    torch.save({"w": torch.arange(6.0)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members |= {"model/byteorder": order, "model/data/0": np.arange(6).astype(dtype).tobytes()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    if order in (b"little", b"big"):
        assert checkpoint.load(path).tensors["w"].tolist() == [0, 1, 2, 3, 4, 5]
    else:
        assert "endianness" in refused(path)


def test_legacy_tar(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    assert "tar checkpoint" in refused(path)


def test_torchscript_archive(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), path)
    assert "a TorchScript archive" in refused(path)
    assert "a TorchScript archive" in refused(path, trust_checkpoint=True)


def test_deflated_zip_bomb(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/data/0", bytes(1 << 24))
    data = bytearray(path.read_bytes())
    # The directory claims 40 GB, as the real bomb would have (4 GB is what fits the field without zip64).
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", 0xFFFFFFF0)
    path.write_bytes(data)
    assert "is compressed" in refused(path)


def test_zip_entry_larger_than_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"w": torch.zeros(4)}, path)
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 20 : entry + 28] = struct.pack("<II", 0xFFFFFFF0, 0xFFFFFFF0)
    path.write_bytes(data)
    assert "claims 4,294,967,280 bytes" in refused(path)


def test_zip_without_a_pickle(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", b"hello")
    assert "without data.pkl" in refused(path)


def test_tensor_larger_than_its_file(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"w": torch.zeros(1).expand(1 << 28)}, path)
    assert "'w' claims 1,073,741,824 bytes" in refused(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_tensor_beyond_its_storage(tmp_path: Path, legacy: bool) -> None:
    class Beyond:
        def __reduce__(self) -> Any:
            storage = torch.storage.TypedStorage(
                wrap_storage=torch.zeros(4).untyped_storage(), dtype=torch.float32, _internal=True
            )
            return torch._utils._rebuild_tensor_v2, (storage, 0, (1 << 40,), (1,), False, {})

    path = tmp_path / "model.pt"
    torch.save({"w": Beyond()}, path, _use_new_zipfile_serialization=not legacy)
    refused(path)


@pytest.mark.parametrize("indices", [[[0, 9]], [[-1, 0]]])
def test_sparse_tensor_with_indices_out_of_range(tmp_path: Path, indices: list[list[int]]) -> None:
    path = tmp_path / "model.pt"
    bad = torch.sparse_coo_tensor(torch.tensor(indices), torch.ones(2), (4,), check_invariants=False)
    torch.save({"w": bad}, path)
    refused(path)


def test_sparse_tensor_with_a_huge_shape(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    empty = torch.sparse_coo_tensor(
        torch.zeros(2, 0), torch.zeros(0), (1 << 14, 1 << 14), check_invariants=True
    )
    torch.save({"w": empty}, path)
    assert "bytes when dense" in refused(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_pickle_that_asks_for_all_memory(tmp_path: Path, legacy: bool) -> None:
    class Greedy:
        def __reduce__(self) -> Any:
            return bytearray, (1 << 29,)

    path = tmp_path / "model.pt"
    torch.save({"w": torch.zeros(3), "x": Greedy()}, path, _use_new_zipfile_serialization=not legacy)
    assert "its pickle calls builtins.bytearray" in refused(path)


def test_names_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"\x1b[31m\n" + "x" * 1000: torch.zeros(1, dtype=torch.complex64)}, path)
    assert "\\x1b[31m\\n" in refused(path)


@pytest.mark.parametrize(
    ("header", "data"),
    [
        (b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,800]}}', b"\0" * 8),
        (b'{"w":{"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,8]}}', b"\0" * 8),
        (b'{"w":' * 1000, b""),
        (b'{"w":{"dtype":"F99","shape":[2],"data_offsets":[0,8]}}', b"\0" * 8),
    ],
)
def test_bad_safetensors_header(tmp_path: Path, header: bytes, data: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    refused(path)


def test_safetensors_header_that_takes_all_memory(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 90 << 20) + b"{")
        file.truncate(100 << 20)
    assert "header is 94,371,840 bytes" in refused(path)


def test_things_that_are_no_files(tmp_path: Path) -> None:
    fifo, loop, sock = tmp_path / "fifo", tmp_path / "loop", tmp_path / "sock"
    os.mkfifo(fifo)
    loop.symlink_to(loop)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(sock))
        assert "is a socket" in refused(sock)
    assert "is a directory" in refused(tmp_path)
    assert "is a FIFO" in refused(fifo)
    assert "is a device" in refused(Path("/dev/zero"))
    assert "go in a circle" in refused(loop)
    assert "no such file" in refused(tmp_path / "nothing.pt")
    assert "not a usable file name" in refused(Path("a\0b"))
    assert "name is too long" in refused(tmp_path / ("x" * 300))


def test_sparse_file_of_a_terabyte(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert "not a checkpoint" in refused(path)


@pytest.mark.parametrize("magic", [b"GGUF", b"\x89HDF", b"version https://git-lfs", b"<!DOCTYPE html>"])
def test_known_foreign_files_are_named(tmp_path: Path, magic: bytes) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(magic + b" " * 600)
    with pytest.raises(UnsupportedError, match="not a checkpoint: it is"):
        checkpoint.load(path)
