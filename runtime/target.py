"""Which instruction set the native kernels use on this processor."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

from ..errors import MissingDependencyError
from .library import library_path, loaded

VARIABLE = "SPARSE_EXPORT_TARGET"


def kernel_target() -> str:
    """The instruction set that SPARSE_EXPORT_TARGET forces, that the library says, or that the CPU has.

    Returns
    -------
    str
        "reference", "scalar", "avx2", "avxvnni", "avx512" or "avx512vnni"; on aarch64 "neon", "neondot",
        "neonsha3" or "neoni8mm" instead of the last four.
    """
    forced = os.environ.get(VARIABLE)
    return forced or _by_library() or _by_processor()


@cache
def _by_library() -> str | None:
    try:
        name = loaded(library_path()).SparseExportTarget
    except (AttributeError, OSError, MissingDependencyError):
        return None
    name.restype = ctypes.c_char_p
    return str(name().decode()) or None


@cache
def _by_processor() -> str:
    """Of the flags that Linux reports; "scalar" where there is no such report."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return "scalar"
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    if {"avx512f", "avx512bw", "avx512vl", "avx512dq"} <= set(flags):
        return "avx512"
    if not {"avx2", "fma"} <= set(flags):
        return "scalar"
    return "avxvnni" if "avx_vnni" in flags else "avx2"
