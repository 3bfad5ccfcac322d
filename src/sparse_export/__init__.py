"""sparse-export: pruned and binarized PyTorch checkpoints as files that are really smaller.

The public names are loaded on first use, so `import sparse_export` imports neither torch nor onnx
nor onnxruntime.
"""

from __future__ import annotations

from importlib import import_module
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
    "InferenceSession": "runtime.session",
    "register": "runtime.session",
    "library_path": "runtime.session",
}

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

if TYPE_CHECKING:
    __version__: str
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
    from .runtime.session import InferenceSession, library_path, register


def __getattr__(name: str) -> Any:
    """Import the home of a public name the first time it is asked for."""
    if name == "__version__":
        value: Any = _version()
        globals()[name] = value
        return value
    if name not in _HOMES:
        raise AttributeError(f"module 'sparse_export' has no attribute '{name}'")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def _version() -> str:
    # Only here: importlib.metadata is most of the time that `--help` would take.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("sparse-export")
    except PackageNotFoundError:  # running from a bare tree
        return "0+unknown"


def __dir__() -> list[str]:
    return sorted(__all__)
