"""The one way a file is written: whole or not at all.

A temporary file beside the target is filled, checked by the caller, synced, and renamed over the
target; then the directory is synced. A failure removes the temporary file and leaves what was there.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from ...errors import InputError

_MARK = ".sparse-export-"
_STALE_SECONDS = 24 * 3600.0


def check_target(target: Path, *, force: bool = False, sources: Iterable[Path] = ()) -> None:
    """Refuse a target that cannot be written before any work is done.

    Raises
    ------
    InputError
        If the target is a source, exists without `force`, is no regular file, or its directory is
        missing or not writable.
    """
    for source in sources:
        if _same_file(source, target):
            raise InputError(f"{target}: output would overwrite the input; choose another name with -o")
    parent = target.parent
    if not parent.is_dir():
        raise InputError(f"{parent}: no such directory; create it or choose another place with -o")
    if target.is_dir():
        raise InputError(f"{target}: is a directory; give a file name with -o")
    if target.exists() and not target.is_file():
        raise InputError(f"{target}: is not a regular file")
    if (target.exists() or target.is_symlink()) and not force:
        raise InputError(f"{target}: exists; use --force to overwrite it")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"{parent}: directory is not writable")
    if len(os.fsencode(target.name)) > 255:
        raise InputError(f"{target.name[:40]}…: file name is longer than 255 bytes")


@contextlib.contextmanager
def atomic_file(target: Path, *, force: bool = False, source: Path | None = None) -> Iterator[BinaryIO]:
    """A binary file that becomes `target` when the block ends without an error.

    The file's ``name`` is the temporary path: flush and reopen it to verify what was written before the
    block ends.

    Raises
    ------
    InputError
        See `check_target`; also when the system refuses a write (disk full, permissions).
    """
    target = Path(target)
    check_target(target, force=force, sources=[source] if source else [])
    _remove_stale(target.parent)
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else None
    temporary = target.parent / f"{_MARK}{os.getpid()}-{secrets.token_hex(6)}.tmp"
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o666)
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as plain:
            file = _Named(plain, temporary)
            yield file  # type: ignore[misc]
            plain.flush()
            if mode is not None:
                os.fchmod(plain.fileno(), mode)
            os.fsync(plain.fileno())
        temporary.replace(target)
    except OSError as error:
        _discard(temporary)
        if isinstance(error, BrokenPipeError) or error.errno is None:
            raise
        raise InputError(f"{target}: cannot be written: {error.strerror}") from error
    except BaseException:
        _discard(temporary)
        raise
    _sync_directory(target.parent)


class _Named:
    """A file object whose `name` is the path it was opened by, not its descriptor."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self.name = str(path)

    def __getattr__(self, attribute: str) -> object:
        return getattr(self._file, attribute)


def _same_file(source: Path, target: Path) -> bool:
    with contextlib.suppress(OSError):
        return source.samefile(target)
    return False


def _discard(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _sync_directory(directory: Path) -> None:
    """Make the rename durable; file systems that cannot sync a directory are left to themselves."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove_stale(directory: Path) -> None:
    """Remove temporaries of ours whose process is gone, or that are a day old."""
    with contextlib.suppress(OSError):
        for path in directory.glob(f"{_MARK}*.tmp"):
            pid = path.name.removeprefix(_MARK).partition("-")[0]
            alive = pid.isdigit() and Path(f"/proc/{pid}").exists()
            old = time.time() - path.stat().st_mtime > _STALE_SECONDS
            if old or not alive:
                _discard(path)
