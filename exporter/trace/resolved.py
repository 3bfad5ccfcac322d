"""A net ready to be traced."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from ...notes import Note


@dataclass
class Resolved:
    """A net ready to be traced.

    Attributes
    ----------
    module
        In evaluation mode, float32, holding the checkpoint's weights (shared, not copied, where float32).
    arch_name
        "resnet18", "net.py:make", "a torch.export program", or the class of a whole module.
    example_inputs
        Seeded; the first dimension of each is the batch.
    program
        The torch.export.ExportedProgram, when the file was one: it is exported instead of the module.
    axes
        For every input its open axes and their names in the file.
    asked
        Whether some of them were asked for: then none may be closed.
    """

    module: torch.nn.Module
    arch_name: str
    example_inputs: tuple[torch.Tensor, ...]
    notes: list[Note] = field(default_factory=list)
    program: Any | None = None
    axes: list[dict[int, str]] = field(default_factory=list)
    asked: bool = False
