"""What a file is and whether opening it is safe, decided from its first bytes and its zip directory.

NOTES
-----
Nothing here allocates what a file merely declares, and nothing here unpickles.
"""

from __future__ import annotations

import errno
import os
import stat
import zipfile
from pathlib import Path
from typing import BinaryIO

from ...errors import CorruptFileError, InputError, UnsupportedError
from ...text import shown

#: A state dict of 100,000 tensors pickles to about 15 MB, its weights lie beside the pickle.
MAX_PICKLE = 64 << 20
#: A safetensors header; 100,000 tensors take about 12 MB.
MAX_HEADER = 32 << 20
#: Entries in a zip; torch writes one per storage.
MAX_MEMBERS = 200_000

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
    with path.open("rb") as file:
        head = file.read(512)
        if path.suffix.lower() == ".onnx":
            return "onnx"
        if head[:4] == b"PK\x03\x04":
            return _identify_zip(path, file, size)
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


def _identify_zip(path: Path, file: BinaryIO, size: int) -> str:
    members = _members(path, file)
    names = [member.filename for member in members]
    tails = {name.partition("/")[2] for name in names}
    if "constants.pkl" in tails or any(tail.startswith("code/") for tail in tails):
        raise UnsupportedError(
            f"{shown(path)}: a TorchScript archive; save its weights with"
            " torch.save(torch.jit.load(FILE).state_dict(), 'state.pt') and give that"
        )
    _check_members(path, members, size)
    if "models/model.json" in tails or "serialized_exported_program.json" in names:
        return "pt2"
    if "data.pkl" not in tails:
        raise CorruptFileError(f"{shown(path)}: a zip file without data.pkl, so not written by torch.save")
    pickle = max(member.file_size for member in members if member.filename.endswith("/data.pkl"))
    if pickle > MAX_PICKLE:
        raise UnsupportedError(
            f"{shown(path)}: data.pkl is {pickle:,} bytes (at most {MAX_PICKLE:,}); save only the state dict"
        )
    return "torch-zip"


def _members(path: Path, file: BinaryIO) -> list[zipfile.ZipInfo]:
    """The zip's directory."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, EOFError) as error:
        raise CorruptFileError(
            f"{shown(path)}: truncated or damaged: the zip directory at its end cannot be read"
        ) from error
    if len(members) > MAX_MEMBERS:
        raise CorruptFileError(f"{shown(path)}: {len(members):,} zip entries (at most {MAX_MEMBERS:,})")
    return members


def _check_members(path: Path, members: list[zipfile.ZipInfo], size: int) -> None:
    """Nothing compressed, nothing larger than the file.

    torch stores its records uncompressed, so a compressed one is either a bomb or not torch's.
    """
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED:
            raise CorruptFileError(
                f"{shown(path)}: '{shown(member.filename)}' is compressed ({member.compress_size:,} to"
                f" {member.file_size:,} bytes); torch.save never does that, refusing to inflate it"
            )
        if member.file_size != member.compress_size or member.header_offset + member.file_size > size:
            raise CorruptFileError(
                f"{shown(path)}: '{shown(member.filename)}' claims {member.file_size:,} bytes at offset"
                f" {member.header_offset:,} of a file of {size:,}"
            )
    if sum(member.file_size for member in members) > size:
        raise CorruptFileError(f"{shown(path)}: its zip entries overlap")
