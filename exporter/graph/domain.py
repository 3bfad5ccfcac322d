"""Operator domains: ours, the main one under its two names, and the version of each that files use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

DOMAIN = "sparse_export"
VERSION = 1
#: ONNX's own operators: both names mean the same.
MAIN_DOMAINS = ("", "ai.onnx")
#: Functions use no operator newer than this; onnxruntime 1.20 implements it.
OPSET = 18


class _Import(Protocol):
    domain: str
    version: int


def main_opset(imports: Iterable[_Import]) -> int:
    """The version of ONNX's own operators that a model or function imports; 0 if it imports none."""
    return next((entry.version for entry in imports if entry.domain in MAIN_DOMAINS), 0)
