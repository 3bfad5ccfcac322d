"""The words with which a source is opened."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

#: `1x3x32x32` for the next input, or a pair of a name and a shape.
Shape = tuple[int, ...] | tuple[str, tuple[int, ...]]


class SourceOptions(TypedDict, total=False):
    """How a source is read: what everything that opens one hands on to `open_source`."""

    arch: str | None
    input_shape: Sequence[Shape] | None
    input_dtype: Sequence[str] | None
    input: str | Path | None
    trust_checkpoint: bool
    weights: str | None
    prefix: str | None
    strict: bool
    dynamic: Sequence[str]
    binarize: Sequence[str]
    binarize_alpha: str
    verbose: bool
