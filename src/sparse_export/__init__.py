"""sparse-export: pruned and binarized PyTorch checkpoints as files that are really smaller.

The public names are loaded on first use, so `import sparse_export` imports neither torch nor onnx
nor onnxruntime.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

try:
    __version__ = version("sparse-export")
except PackageNotFoundError:  # running from a bare tree
    __version__ = "0+unknown"

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
    if name not in _HOMES:
        raise AttributeError(f"module 'sparse_export' has no attribute '{name}'")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
