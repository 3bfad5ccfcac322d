"""The native operator library: where it is."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from pathlib import Path

from ..errors import MissingDependencyError

LIBRARY_VARIABLE = "SPARSE_EXPORT_LIBRARY"

_SUFFIX = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")

LIBRARY_NAME = f"libsparse_export_ops{_SUFFIX}"


def library_path() -> Path:
    """The custom-op library's file.

    ``SPARSE_EXPORT_LIBRARY`` names one explicitly. Otherwise it is the one in any folder that holds a part of
    this package, or the newest in-tree build.

    Raises
    ------
    MissingDependencyError
        If there is none.
    """
    forced = os.environ.get(LIBRARY_VARIABLE)
    if forced:
        path = Path(forced)
        if not path.is_file():
            raise MissingDependencyError(f"{LIBRARY_VARIABLE}={forced}: no such file")
        return path.resolve()
    for path in _candidates():
        if path.is_file():
            return path.resolve()
    raise MissingDependencyError(
        f"{LIBRARY_NAME} is not installed; reinstall sparse-export with a C++ compiler, "
        f"or set {LIBRARY_VARIABLE} to a build of it"
    )


def _candidates() -> list[Path]:
    """Places to look, best first: beside this module, installed parts of the package, in-tree builds."""
    here = Path(__file__).resolve().parent
    tree = here.parent
    # build/fuzz is linked with sanitizers, which an ordinary Python cannot load.
    builds = [
        path for path in tree.glob(f"build/*/runtime/native/{LIBRARY_NAME}") if path.parts[-4] != "fuzz"
    ]
    built = sorted(builds, key=lambda path: path.stat().st_mtime, reverse=True)
    package = sys.modules[__name__.rpartition(".runtime")[0]]
    installed = [Path(folder) / "runtime" / LIBRARY_NAME for folder in package.__path__]
    site = [Path(folder) / "sparse_export" / "runtime" / LIBRARY_NAME for folder in sys.path if folder]
    return [here / LIBRARY_NAME, *built, *installed, *site]


@cache
def loaded(path: Path) -> ctypes.CDLL:
    """The library in this process, for what it exports beside the entry point of onnxruntime.

    Raises
    ------
    OSError
        If it cannot be loaded.
    """
    return ctypes.CDLL(str(path))
