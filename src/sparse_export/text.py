"""Words for people: names from files made safe for a terminal, numbers with their nouns.

NOTES
-----
Whatever comes from a file and is shown goes through `clean` or `shown`: control, escape and bidirectional
characters must not drive the terminal or reorder a line.
"""

from __future__ import annotations

from pathlib import Path

#: Longest stretch of a file's own text that a message repeats.
_SHOWN = 80


def clean(text: str) -> str:
    """Text without control, escape and bidirectional characters, on one line: they are spelled out."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def shown(name: object) -> str:
    """`name` as text that is safe on a terminal: printable characters, at most 80 of them (but for paths)."""
    text = clean(str(name))
    if isinstance(name, Path) or len(text) <= _SHOWN:
        return text
    return text[: _SHOWN - 1] + "…"


def counted(number: int, noun: str) -> str:
    """`number` and `noun` in the right form: "1 tensor", "2,000 tensors"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(names: list[str], limit: int = 3) -> str:
    """The first few of `names`, and how many more there are."""
    head = ", ".join(shown(name) for name in names[:limit])
    return head if len(names) <= limit else f"{head} and {len(names) - limit} more"
