"""The one way a file is written: whole or not at all.

A temporary file beside the target is filled, checked by the caller, synced, and given the target's name; then
the directory is synced. A failure removes the temporary file and leaves what was there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ...errors import InputError
from ...text import shown
from . import temporary
from .targets import check_target

__all__ = ["atomic_file", "check_target", "forget_published", "published"]

#: What a file system says that has no hard links.
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES, errno.EXDEV}
_published: list[Path] = []


@contextlib.contextmanager
def atomic_file(
    target: Path, *, force: bool = False, source: Path | None = None, sources: Iterable[Path] = ()
) -> Iterator[BinaryIO]:
    """A binary file that becomes `target` when the block ends without an error.

    The file's ``name`` is the temporary path: flush and reopen it to verify what was written before the
    block ends. With `force` an existing target is replaced and its owner, group and mode are kept, as far as
    the system lets this user; without, a file that appeared meanwhile stays as it is.

    Raises
    ------
    InputError
        See `check_target`; also when the system refuses a write (disk full, permissions), whatever the
        library in between made of that, and when another file took the name meanwhile.
    """
    target = Path(target)
    read = [*sources, source] if source else sources
    check_target(target, force=force, sources=read)
    temporary.remove_stale(target.parent)
    old = _status(target)
    try:
        # What replaces a private file is private from its first byte on.
        descriptor, path = temporary.create(target.parent, 0o600 if old else 0o666)
    except OSError as error:
        raise _refused(target, error) from error
    file = None
    try:
        with os.fdopen(descriptor, "wb") as plain:
            file = _Watched(plain, path)
            yield file  # type: ignore[misc]
            plain.flush()
            if file.failure:  # a library went on without a word
                raise file.failure
            _keep_owner_and_mode(descriptor, old)
            os.fsync(descriptor)
            if temporary.LOCKS:  # locked, hence not stale, until it has its name
                _publish(path, target, force, read)
            temporary.let_go(descriptor)
        if not temporary.LOCKS:  # and there an open file cannot be renamed
            _publish(path, target, force, read)
    except BaseException as error:
        temporary.let_go(descriptor)
        temporary.discard(path)
        cause = (file.failure if file else None) or error
        if not isinstance(cause, OSError) or isinstance(cause, BrokenPipeError) or cause.errno is None:
            raise
        if isinstance(error, KeyboardInterrupt):
            raise
        raise _refused(target, cause, path) from error
    _sync_directory(target.parent)


def published() -> list[Path]:
    """The files that got their names since `forget_published` and are still there."""
    return [path for path in dict.fromkeys(_published) if path.exists()]


def forget_published() -> None:
    """Begin a new list of what was written."""
    _published.clear()


class _Watched:
    """A file object whose `name` is the path it was opened by, and that remembers why a write failed.

    A library that is handed the file may turn the system's error into one of its own.
    """

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self.name = str(path)
        self.failure: OSError | None = None

    def write(self, data: Any) -> int:
        """As the file's own."""
        try:
            return self._file.write(data)
        except OSError as error:
            self.failure = error
            raise

    def flush(self) -> None:
        """As the file's own."""
        try:
            self._file.flush()
        except OSError as error:
            self.failure = error
            raise

    def __getattr__(self, attribute: str) -> object:
        return getattr(self._file, attribute)


def _refused(target: Path, error: OSError, path: Path | None = None) -> InputError:
    """The one line for a write that the system refused, or for a failed read of another file meanwhile."""
    other = error.filename
    if other and path is not None and Path(os.fsdecode(other)) not in (path, target):
        return InputError(f"{shown(os.fsdecode(other))}: {error.strerror}; {shown(target)} was not written")
    return InputError(f"{shown(target)}: cannot be written: {error.strerror}")


def _status(target: Path) -> os.stat_result | None:
    with contextlib.suppress(OSError):
        return target.stat()
    return None


def _keep_owner_and_mode(descriptor: int, old: os.stat_result | None) -> None:
    """Only root may give files away; the group is tried alone, for folders that are shared by a group."""
    if old is None or not hasattr(os, "fchown"):
        return
    mode = stat.S_IMODE(old.st_mode)
    new = os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        try:
            os.fchown(descriptor, old.st_uid, old.st_gid)
        except OSError:
            mode &= 0o777  # the bits that lend rights are the old owner's to give
            with contextlib.suppress(OSError):
                os.fchown(descriptor, -1, old.st_gid)
    os.fchmod(descriptor, mode)  # after the owner: a change of owner clears bits of the mode


def _publish(path: Path, target: Path, replace: bool, sources: Iterable[Path]) -> None:
    """Give the finished file its name; a rename replaces what is there, a link does not."""
    if replace:
        check_target(target, force=True, sources=sources)
        path.replace(target)
        _published.append(target)
        return
    try:
        os.link(path, target)
    except FileExistsError as error:
        raise _taken(target) from error
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(target):
            raise _taken(target) from error
        path.rename(target)
    _published.append(target)
    temporary.discard(path)


def _taken(target: Path) -> InputError:
    return InputError(
        f"{shown(target)}: appeared while this ran, so somebody else wrote it; it stays as it is"
        " (use --force to overwrite it)"
    )


def _sync_directory(directory: Path) -> None:
    """Make the new name durable; file systems that cannot sync a directory are left to themselves."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
