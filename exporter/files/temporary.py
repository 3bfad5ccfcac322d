"""Temporary files of ours: created locked, so that whoever finds one knows whether its writer still lives.

NOTES
-----
The lock (`flock`) is on the open file and goes with the process that holds it, however that ends. A process
number would not do: another process may have it by now, and off Linux there is no `/proc` to look it up in.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from ...errors import InputError

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed: the lock is built in
    fcntl = None  # type: ignore[assignment]

#: Whether a lock says that a file is in use; where there are none, the system refuses to remove such a file.
LOCKS = fcntl is not None
NAME = re.compile(r"\.sparse-export-[0-9a-f]{16}\.tmp")
#: Locked descriptors of this process.
_held: set[int] = set()
_FLAGS = os.O_CREAT | os.O_EXCL | os.O_RDWR
_SAFE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def create(directory: Path, mode: int) -> tuple[int, Path]:
    """Descriptor and path of a new, locked, empty file in `directory`; `mode` is subject to the umask.

    Raises
    ------
    OSError
        If it cannot be created.
    """
    while True:
        path = directory / f".sparse-export-{secrets.token_hex(8)}.tmp"
        descriptor = os.open(path, _FLAGS | _SAFE, mode)
        # Between these two calls it looks stale: whoever removed it, or is about to, may have it.
        if lock(descriptor) is not False and os.fstat(descriptor).st_nlink:
            _held.add(descriptor)
            return descriptor, path
        os.close(descriptor)


def let_go(descriptor: int) -> None:
    """Forget a descriptor that is about to be closed."""
    _held.discard(descriptor)


def _let_go_in_child() -> None:
    """A forked child holds no lock of its parent, which it may outlive; the parent's locks stay."""
    if _held:
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in _held:
            os.dup2(nothing, descriptor, inheritable=False)
        os.close(nothing)
        _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_child)


def lock(descriptor: int, *, shared: bool = False) -> bool | None:
    """Whether the lock of an open file could be had at once; None where the file system has no locks."""
    if not LOCKS:
        return None
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def remove_stale(directory: Path) -> None:
    """Remove temporaries of ours whose writer is gone."""
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        names = [entry.name for entry in entries if NAME.fullmatch(entry.name)]
        for name in names:
            _remove_if_stale(directory / name)


def _remove_if_stale(path: Path) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | _SAFE)
        try:
            regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
            if regular and (lock(descriptor) or not LOCKS):
                path.unlink()
        finally:
            os.close(descriptor)


def discard(path: Path) -> None:
    """Remove a file, if it is there and can be removed."""
    with contextlib.suppress(OSError):
        path.unlink()


@contextlib.contextmanager
def directory_in_use(directory: Path, seconds: float = 60.0) -> Iterator[None]:
    """Hold off `directory_alone` of others while files that nobody refers to yet are in the directory.

    Raises
    ------
    InputError
        If another process keeps the directory to itself for longer than `seconds`.
    """
    with _opened(directory) as descriptor:
        end = time.monotonic() + seconds
        while descriptor is not None and lock(descriptor, shared=True) is False:
            if time.monotonic() > end:
                raise InputError(f"{directory}: another program keeps the directory locked; try again later")
            time.sleep(0.02)
        yield


@contextlib.contextmanager
def directory_alone(directory: Path) -> Iterator[bool | None]:
    """Whether no `directory_in_use` is going on, which then waits; None where there are no locks."""
    with _opened(directory) as descriptor:
        yield None if descriptor is None else lock(descriptor)


@contextlib.contextmanager
def _opened(directory: Path) -> Iterator[int | None]:
    """A descriptor of the directory to lock, None where it cannot be opened."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _SAFE)
    except OSError:
        yield None
        return
    _held.add(descriptor)
    try:
        yield descriptor
    finally:
        let_go(descriptor)
        os.close(descriptor)
