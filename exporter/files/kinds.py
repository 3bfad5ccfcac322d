"""What a file is and whether opening it is safe, decided from its first bytes and its zip directory.

NOTES
-----
Nothing here allocates what a file merely declares, and nothing here unpickles.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from ...errors import CorruptFileError, InputError, UnsupportedError
from ...text import shown
from .budget import MAX_HEADER, MAX_PICKLE
from .failures import ours
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


def identify(path: Path) -> str:
    """What the file holds: "torch-zip", "torch-legacy", "safetensors", "pt2" or "onnx".

    Decided by content, because `.pt`, `.pth`, `.bin` and `.ckpt` say little; `.onnx` by its name, because a
    protobuf has no magic number.

    Raises
    ------
    CorruptFileError
        If the content is no format that is known, or a zip that breaks its own rules.
    UnsupportedError
        If it is a known format that cannot be exported (TorchScript, a legacy tar, GGUF, ...).
    """
    size = regular_file(path)
    with ours(path), path.open("rb") as file:
        head = file.read(512)
        if path.suffix.lower() == ".onnx":
            return "onnx"
        if head[:4] == b"PK\x03\x04":
            return _identify_zip(path)
    if head[257:262] == b"ustar" or (size % 512 == 0 and path.suffix == ".tar"):
        raise UnsupportedError(
            f"{shown(path)}: a tar checkpoint from torch before 0.1.10; load it there and torch.save it again"
        )
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
        length = int.from_bytes(head[:8], "little")
        if length > MAX_HEADER:
            raise CorruptFileError(
                f"{shown(path)}: the safetensors header is {length:,} bytes (at most {MAX_HEADER:,})"
            )
        return "safetensors"
    if head[:1] == b"\x80" and len(head) > 1 and head[1] in range(2, 6):
        return "torch-legacy"
    for magic, what in _FOREIGN.items():
        if head.startswith(magic):
            raise UnsupportedError(f"{shown(path)}: not a checkpoint: it is {what}")
    if path.suffix.lower() == ".safetensors":
        raise CorruptFileError(
            f"{shown(path)}: header length {int.from_bytes(head[:8], 'little'):,} does not fit a safetensors"
            f" file of {size:,} bytes"
        )
    raise CorruptFileError(
        f"{shown(path)}: not a checkpoint: no torch, safetensors, .pt2 or .onnx file starts with"
        f" {head[:8].hex(' ')}"
    )


def _identify_zip(path: Path) -> str:
    with ZipFile(path) as archive:
        if "models/model.json" in archive.members:
            return "pt2"
        if "data.pkl" not in archive.members:
            raise CorruptFileError(
                f"{shown(path)}: a zip file without data.pkl, so not written by torch.save"
            )
        size = archive.members["data.pkl"].size
    if size > MAX_PICKLE:
        raise UnsupportedError(
            f"{shown(path)}: data.pkl is {size:,} bytes (at most {MAX_PICKLE:,}); save only the state dict"
        )
    return "torch-zip"
