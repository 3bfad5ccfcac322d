"""What a file is and whether opening it is safe, decided from its first bytes and its zip directory.

A new kind of source is a reader in this folder, which gives a `Raw`, and a row of `KINDS`.

NOTES
-----
Nothing here allocates what a file merely declares, and nothing here unpickles.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path

from ...errors import CorruptFileError, InputError, UnsupportedError
from ...text import shown
from .budget import MAX_HEADER, MAX_PICKLE
from .failures import ours
from .raw import Raw, Reading
from .zip_file import ZipFile

_FOREIGN = {
    b"GGUF": "a GGUF file",
    b"\x89HDF": "an HDF5 file (Keras)",
    b"\x93NUM": "a NumPy .npy file",
    b"\x1f\x8b\x08": "gzip-compressed; gunzip it first",
    b"\x7fELF": "an ELF program",
    b"version https://git-lfs": "a Git LFS pointer; run 'git lfs pull' to get the weights",
    b"<!DOCTYPE": "a web page; the download went wrong",
    b"<html": "a web page; the download went wrong",
}


def regular_file(path: Path) -> int:
    """Size in bytes of the regular, readable, non-empty file at `path`.

    Raises
    ------
    InputError
        If there is no such file, or it is a directory, FIFO, device, socket or a circle of links.
    CorruptFileError
        If it is empty.
    """
    try:
        status = path.stat()
    except ValueError as error:  # a NUL character in the name
        raise InputError(f"'{shown(path)}': not a usable file name") from error
    except OSError as error:
        raise InputError(f"{shown(path)}: {_reason(error)}") from error
    if not stat.S_ISREG(status.st_mode):
        kind = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
        what = kind.get(stat.S_IFMT(status.st_mode), "a device")
        raise InputError(f"{shown(path)}: is {what}; give a model file")
    if not os.access(path, os.R_OK):
        raise InputError(f"{shown(path)}: permission denied")
    if status.st_size == 0:
        raise CorruptFileError(f"{shown(path)}: the file is empty (0 bytes)")
    return status.st_size


def _reason(error: OSError) -> str:
    return {
        errno.ENOENT: "no such file",
        errno.ENOTDIR: "no such file (a part of the path is not a directory)",
        errno.ELOOP: "its symbolic links go in a circle",
        errno.EACCES: "permission denied",
        errno.ENAMETOOLONG: "the name is too long",
    }.get(error.errno or 0, error.strerror or str(error))


@dataclass
class Opened:
    """What a kind is told by: `head` are the first 512 bytes."""

    path: Path
    size: int
    head: bytes

    @property
    def suffix(self) -> str:
        """Of the name, in lower case."""
        return self.path.suffix.lower()

    @cached_property
    def members(self) -> dict[str, int]:
        """Sizes by name of what a zip holds; empty of any other file.

        Raises
        ------
        CorruptFileError
            If it breaks the rules of a zip.
        """
        if self.head[:4] != b"PK\x03\x04":
            return {}
        with ZipFile(self.path) as archive:
            return {name: member.size for name, member in archive.members.items()}


def _is_torch_zip(file: Opened) -> bool:
    if file.head[:4] != b"PK\x03\x04":
        return False
    if "data.pkl" not in file.members:
        raise CorruptFileError(
            f"{shown(file.path)}: a zip file without data.pkl, so not written by torch.save"
        )
    if file.members["data.pkl"] > MAX_PICKLE:
        raise UnsupportedError(
            f"{shown(file.path)}: data.pkl is {file.members['data.pkl']:,} bytes (at most {MAX_PICKLE:,});"
            " save only the state dict"
        )
    return True


def _is_tar(file: Opened) -> bool:
    if file.head[257:262] == b"ustar" or (file.size % 512 == 0 and file.path.suffix == ".tar"):
        raise UnsupportedError(
            f"{shown(file.path)}: a tar checkpoint from torch before 0.1.10; load it there and torch.save it"
            " again"
        )
    return False


def _is_safetensors(file: Opened) -> bool:
    head, length = file.head, int.from_bytes(file.head[:8], "little")
    if len(head) <= 8 or head[8:9] != b"{" or length > file.size - 8:
        return False
    if length > MAX_HEADER:
        raise CorruptFileError(
            f"{shown(file.path)}: the safetensors header is {length:,} bytes (at most {MAX_HEADER:,})"
        )
    return True


def _is_legacy(file: Opened) -> bool:
    return file.head[:1] == b"\x80" and len(file.head) > 1 and file.head[1] in range(2, 6)


@dataclass(frozen=True)
class Kind:
    """One kind of file.

    Attributes
    ----------
    is_this
        Whether a file is of this kind, told that it is of none of those before; raises where it is one that
        cannot be read.
    reader
        Module of this folder whose `read(path, reading)` gives the `Raw`; none where a room above has it.
    """

    is_this: Callable[[Opened], bool]
    reader: str | None = None


#: By name, in the order in which they are tried. `.onnx` is told by its name: a protobuf has no magic number.
KINDS = {
    "onnx": Kind(lambda file: file.suffix == ".onnx"),
    "pt2": Kind(lambda file: "models/model.json" in file.members, "pt2_file"),
    "torch-zip": Kind(_is_torch_zip),
    "tar": Kind(_is_tar),
    "safetensors": Kind(_is_safetensors),
    "torch-legacy": Kind(_is_legacy),
}


def identify(path: Path) -> str:
    """What the file holds: a name of `KINDS`.

    Decided by content, because `.pt`, `.pth`, `.bin` and `.ckpt` say little.

    Raises
    ------
    CorruptFileError
        If the content is no format that is known, or a zip that breaks its own rules.
    UnsupportedError
        If it is a known format that cannot be exported (TorchScript, a legacy tar, GGUF, ...).
    """
    size = regular_file(path)
    with ours(path), path.open("rb") as file:
        opened = Opened(path, size, file.read(512))
    with ours(path):
        found = next((name for name, kind in KINDS.items() if kind.is_this(opened)), None)
    if found is None:
        raise _unknown(opened)
    return found


def read(path: Path, kind: str, reading: Reading) -> Raw:
    """What the reader of that kind gives; of a kind whose row names one."""
    raw: Raw = import_module(f".{KINDS[kind].reader}", __package__).read(path, reading)
    return raw


def _unknown(file: Opened) -> InputError | CorruptFileError:
    """What is wrong with a file of no kind."""
    for magic, what in _FOREIGN.items():
        if file.head.startswith(magic):
            return UnsupportedError(f"{shown(file.path)}: not a checkpoint: it is {what}")
    if file.suffix == ".safetensors":
        return CorruptFileError(
            f"{shown(file.path)}: header length {int.from_bytes(file.head[:8], 'little'):,} does not fit a"
            f" safetensors file of {file.size:,} bytes"
        )
    return CorruptFileError(
        f"{shown(file.path)}: not a checkpoint: no torch, safetensors, .pt2 or .onnx file starts with"
        f" {file.head[:8].hex(' ')}"
    )
