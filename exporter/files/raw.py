"""What every reader is asked, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...notes import Note


@dataclass(frozen=True)
class Reading:
    """How a file is read.

    Attributes
    ----------
    trust
        Allow pickles that run code: whole modules, and .pt2 files with custom objects.
    mmap
        Map the weights instead of reading them. The file must then stay as it is while they are used.
    """

    trust: bool = False
    mmap: bool = True


@dataclass
class Raw:
    """What a reader gives back; one of `value` and `program`; of an .onnx file neither.

    Attributes
    ----------
    kind
        "state-dict", "safetensors", "pt2" or "onnx".
    value
        What was pickled, or a flat dict of tensors.
    limit
        Bytes that no tensor may exceed: those of the files.
    """

    kind: str
    value: Any = None
    program: Any | None = None
    limit: int = 0
    notes: list[Note] = field(default_factory=list)
