"""The native operator library: its path, and registering it with session options."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from ..errors import MissingDependencyError

if TYPE_CHECKING:
    import onnxruntime


LIBRARY_VARIABLE = "SPARSE_EXPORT_LIBRARY"

_SUFFIX = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")

LIBRARY_NAME = f"libsparse_export_ops{_SUFFIX}"

#: Session options that have the library: with a second one in them onnxruntime refuses to make a session.
_registered: WeakSet[Any] = WeakSet()


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


def register(session_options: onnxruntime.SessionOptions) -> onnxruntime.SessionOptions:
    """Make sessions created from these options run packed layers with the native operators.

    Parameters
    ----------
    session_options
        Changed in place, unless they have been registered with before.

    Returns
    -------
    onnxruntime.SessionOptions
        The same object.

    Raises
    ------
    MissingDependencyError
        If the library is missing or this onnxruntime cannot load it.
    """
    if session_options in _registered:
        return session_options
    path = library_path()
    try:
        session_options.register_custom_ops_library(str(path))
    except Exception as error:  # onnxruntime has no stable base class for its failures
        raise MissingDependencyError(f"onnxruntime cannot load {path}: {error}") from error
    _registered.add(session_options)
    return session_options
