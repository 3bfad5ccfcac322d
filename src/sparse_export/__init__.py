"""sparse-export: pruned and binarized PyTorch checkpoints as files that are really smaller.

The public names are loaded on first use, so `import sparse_export` imports neither torch nor onnx
nor onnxruntime.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

_HOMES = {
    "SparseExportError": "errors",
    "InputError": "errors",
    "CorruptFileError": "errors",
    "UnsupportedError": "errors",
    "VerificationError": "errors",
    "BudgetError": "errors",
    "MissingDependencyError": "errors",
    "export": "exporter.api",
    "inspect": "exporter.api",
    "verify": "exporter.api",
    "InferenceSession": "runtime.inference",
    "register": "runtime.session",
    "library_path": "runtime.session",
}

if TYPE_CHECKING:
    __version__: str
    __all__ = [
        "BudgetError",
        "CorruptFileError",
        "InferenceSession",
        "InputError",
        "MissingDependencyError",
        "SparseExportError",
        "UnsupportedError",
        "VerificationError",
        "__version__",
        "export",
        "inspect",
        "library_path",
        "register",
        "verify",
    ]
    from .errors import (
        BudgetError,
        CorruptFileError,
        InputError,
        MissingDependencyError,
        SparseExportError,
        UnsupportedError,
        VerificationError,
    )
    from .exporter.api import export, inspect, verify
    from .runtime.inference import InferenceSession
    from .runtime.session import library_path, register


def __getattr__(name: str) -> Any:
    """Import the home of a public name the first time it is asked for."""
    if name in ("__version__", "__all__"):
        value: Any = _version() if name == "__version__" else _present()
        globals()[name] = value
        return value
    if name not in _HOMES:
        raise AttributeError(f"module 'sparse_export' has no attribute '{name}'")
    value = getattr(_home(name), name)
    globals()[name] = value
    return value


def _home(name: str) -> ModuleType:
    """The module of a public name; a device may have the part that runs files and no other."""
    home = f"{__name__}.{_HOMES[name]}"
    try:
        return import_module(home)
    except ModuleNotFoundError as error:
        if error.name is None or not home.startswith(error.name):
            raise
        from .errors import MissingDependencyError

        raise MissingDependencyError(
            f"sparse_export.{name} is not in sparse-export-runtime: pip install sparse-export"
        ) from error


def _present() -> list[str]:
    """The public names of this installation: `import *` gives what is there."""
    from importlib.util import find_spec

    rooms = {name: home.partition(".")[0] for name, home in _HOMES.items()}
    there = {room for room in rooms.values() if find_spec(f"{__name__}.{room}")}
    return sorted(["__version__", *(name for name, room in rooms.items() if room in there)])


def _version() -> str:
    # Only here: importlib.metadata is most of the time that `--help` would take.
    from importlib.metadata import PackageNotFoundError, version

    for distribution in ("sparse-export", "sparse-export-runtime"):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return "0+unknown"  # running from a bare tree


def __dir__() -> list[str]:
    return _present()
