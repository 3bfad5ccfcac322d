"""Sessions with the native operators: `InferenceSession`, `register`, and the library that they load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .library import LIBRARY_NAME, LIBRARY_VARIABLE, library_path
from .registration import register

if TYPE_CHECKING:
    from .inference import InferenceSession as InferenceSession

__all__ = ["LIBRARY_NAME", "LIBRARY_VARIABLE", "InferenceSession", "library_path", "register"]


def __getattr__(name: str) -> Any:
    """`InferenceSession` derives from onnxruntime's class: made when it is first asked for."""
    if name != "InferenceSession":
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from .inference import InferenceSession

    return InferenceSession
