"""Memory of the current process as Linux counts it, and a page cache emptied of one file."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ..runtime.memory import give_back

_FIELDS = {"VmHWM": "peak", "VmRSS": "rss", "RssAnon": "anon", "RssFile": "file"}


def status() -> dict[str, int]:
    """Bytes of `peak` (VmHWM), `rss`, `anon` (RssAnon) and `file` (RssFile) of this process.

    Read from /proc: `ru_maxrss` would report the parent's peak in a freshly started child.
    """
    found = {}
    for line in Path("/proc/self/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key in _FIELDS:
            found[_FIELDS[key]] = int(value.split()[0]) * 1024
    return found


def settled() -> dict[str, int]:
    """`status` after the allocator has returned what is free: what a program needs, not what glibc keeps.

    How much it keeps follows from the order of allocations and differs from run to run. The peak stays.
    """
    give_back()
    return status()


def reset_peak() -> bool:
    """Start VmHWM again from the current resident size; False where the kernel does not allow it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def drop_from_cache(paths: list[Path]) -> bool:
    """Push the files out of the page cache; True when the kernel confirms that they are gone."""
    gone = True
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):
                os.fsync(fd)  # dirty pages cannot be dropped
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            gone = gone and not _is_cached(fd)
        finally:
            os.close(fd)
    return gone


def _is_cached(fd: int) -> bool:
    """Whether the first, a middle or the last page can be read without touching the disk.

    Probed from the end, because each probe may start read-ahead behind the page that it asks for.
    """
    size = os.fstat(fd).st_size
    if size == 0:
        return False
    for offset in sorted({0, size // 2, max(0, size - 1)}, reverse=True):
        try:
            if os.preadv(fd, [bytearray(1)], offset, os.RWF_NOWAIT):
                return True
        except BlockingIOError:
            continue
        except OSError:
            return True  # cannot tell: do not call it cold
    return False
