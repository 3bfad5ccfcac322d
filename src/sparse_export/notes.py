"""What is worth telling about an input: one line each, with its level."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    """One line about an input, for its owner."""

    level: str  # "info" or "warn"
    text: str
