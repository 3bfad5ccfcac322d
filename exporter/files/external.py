"""The data file beside a model: named after its content, published first, removed when nobody refers to it.

NOTES
-----
`NAME.<hash>.data` holds exactly the bytes whose SHA-256 begins with <hash>. So two models with the same
weights share one file, a file is known to be ours without opening what refers to it, and a half-written or
altered one never counts.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx

from ...errors import InputError
from ...text import shown
from . import held, proto_size, temporary
from .atomic import atomic_file

#: onnxruntime maps external tensors without copying; page alignment keeps them at page starts.
ALIGNMENT = 4096
#: Hexadecimal digits of the hash in the name.
_DIGITS = 12
#: First byte of a serialized model: the key of its first field, ir_version.
_MODEL_STARTS = b"\x08"


def data_path(target: Path, tensors: Iterable[onnx.TensorProto]) -> Path:
    """Where the data of a model that will be `target` goes."""
    digest = hashlib.sha256()
    for piece in _pieces(tensors):
        digest.update(piece)
    return target.with_name(f"{_stem(target)}.{digest.hexdigest()[:_DIGITS]}.data")


def write(path: Path, tensors: list[onnx.TensorProto], *, force: bool, sources: Iterable[Path]) -> None:
    """Publish the data file; one that has the content already is left as it is.

    Raises
    ------
    InputError
        If it cannot be written, or another file has the name and `force` is not given or it is a source.
    """
    if _is_ours(path):
        return
    if os.path.lexists(path) and not force:
        raise InputError(f"{shown(path)}: exists with another content; use --force to overwrite it")
    with atomic_file(path, force=True, sources=sources) as file:
        for piece in _pieces(tensors):
            file.write(piece)


def places(tensors: Iterable[onnx.TensorProto]) -> dict[str, tuple[int, int]]:
    """Tensor name to (offset, length) in the data file, in bytes."""
    found, offset = {}, 0
    for tensor in tensors:
        offset += -offset % ALIGNMENT
        size = proto_size.raw_bytes(tensor)
        found[tensor.name] = (offset, size)
        offset += size
    return found


def _pieces(tensors: Iterable[onnx.TensorProto]) -> Iterator[bytes | memoryview]:
    """The bytes of the file: each tensor at an aligned offset."""
    offset = 0
    for tensor in tensors:
        padding, content = -offset % ALIGNMENT, held.raw(tensor)
        yield b"\0" * padding
        yield content
        offset += padding + len(content)


def candidates(target: Path) -> list[Path]:
    """Files named like data of exports to `target`."""
    name = re.compile(re.escape(_stem(target)) + rf"\.[0-9a-f]{{{_DIGITS}}}\.data")
    with contextlib.suppress(OSError), os.scandir(target.parent) as entries:
        return [target.parent / entry.name for entry in entries if name.fullmatch(entry.name)]
    return []


def remove_unused(target: Path, *, replaced: Iterable[str] = (), sources: Iterable[Path] = ()) -> None:
    """Remove data files of exports to `target` that no model in its directory refers to.

    Not while another export is between its data file and its model: then the next one does it.

    Parameters
    ----------
    replaced
        Names that the model before this one referred to: all that is looked at where the file system has no
        locks, so that nobody can be asked whether he is at work.
    sources
        Files to keep in any case.
    """
    with contextlib.suppress(OSError):
        if not candidates(target):
            return
        kept = {path.resolve() for path in sources}
        with temporary.directory_alone(target.parent) as alone:
            if alone is False:
                return
            found = [path for path in candidates(target) if path.resolve() not in kept]
            if alone is None:
                found = [path for path in found if path.name in set(replaced)]
            used = _referred_to(target.parent, {path.name for path in found})
            for path in found:
                if path.name not in used and _is_ours(path):
                    temporary.discard(path)


def mentions(model: Path, names: Iterable[str]) -> set[str]:
    """Those of `names` that occur in a serialized model.

    A search for the bytes: it needs no parser, takes no memory, and can only err towards keeping a file.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    descriptor = os.open(model, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or not status.st_size:
            return set()
        if model.suffix.lower() != ".onnx" and os.pread(descriptor, 1, 0) != _MODEL_STARTS:
            return set()
        with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as data:
            return {name for name in names if data.find(os.fsencode(name)) >= 0}
    finally:
        os.close(descriptor)


def _referred_to(directory: Path, names: set[str]) -> set[str]:
    """Those of `names` that a model in the directory refers to, whatever the model is called."""
    used: set[str] = set()
    with os.scandir(directory) as entries:
        others = [e.name for e in entries if e.name not in names and not temporary.NAME.fullmatch(e.name)]
    for other in others:
        try:
            used |= mentions(directory / other, names - used)
        except FileNotFoundError:
            continue  # gone meanwhile, or a link to nowhere
        except OSError:
            return names  # nobody knows what it refers to
    return used


def _is_ours(path: Path) -> bool:
    """Whether this is a regular file whose content is what its name says."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return False
    return path.name.split(".")[-2] == digest[:_DIGITS]


def _stem(target: Path) -> str:
    return target.name.removesuffix(".onnx")
