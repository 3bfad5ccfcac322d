"""Giving memory back to the system that was needed only while a session was made."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache


def give_back() -> None:
    """Let the allocator return what is free, where it can be told to (glibc).

    Decoding weights takes several times their size for a moment, and glibc keeps what was freed.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    try:
        found = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library; Windows has no process-wide handle
        return None
    found.argtypes, found.restype = [ctypes.c_size_t], ctypes.c_int
    return found
