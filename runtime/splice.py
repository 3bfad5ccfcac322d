"""Edits of a serialized model: bytes in the place of others, and the lengths that this changes.

What is taken out is really gone: onnxruntime keeps even fields that it does not know for as long as a session
lives.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from . import wire


@dataclass(frozen=True)
class Edit:
    """Bytes that take the place of others."""

    start: int
    end: int
    content: bytes


def removed(data: wire.Buffer, field: wire.Field) -> Edit:
    """The field taken out, with its key.

    Raises
    ------
    ValueError
        If its key is not written as everybody writes it.
    """
    return Edit(_key(data, field), field.end, b"")


def appended(holder: wire.Field, *contents: bytes) -> list[Edit]:
    """What is put behind the last field of a message, one after the other."""
    return [Edit(holder.end, holder.end, content) for content in contents]


def fitted(data: wire.Buffer, edits: Sequence[Edit], holders: Iterable[wire.Field]) -> list[Edit]:
    """The edits, and those that give the fields around them their new lengths.

    Parameters
    ----------
    holders
        Every field that holds a place where a length changes, up to the model itself.

    Raises
    ------
    ValueError
        If a key is not written as everybody writes it.
    """
    found = list(edits)
    for holder in sorted(set(holders), key=lambda field: field.end - field.start):  # the innermost first
        size = holder.end - holder.start
        grown = sum(
            len(edit.content) - (edit.end - edit.start)
            for edit in found
            if holder.start <= edit.start and edit.end <= holder.end
        )
        if grown:
            found.append(Edit(_key(data, holder), holder.start, wire.head(holder.number, size + grown)))
    return found


def edited(data: memoryview, edits: Sequence[Edit], pieces: Sequence[bytes]) -> bytes:
    """The model with these bytes changed, and pieces behind its end.

    A protobuf message may go on there: repeated fields that come again are added to.
    """
    parts: list[bytes | memoryview] = []
    place = 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        parts += [data[place : edit.start], edit.content]
        place = edit.end
    parts.append(data[place:])
    try:
        return b"".join([*parts, *pieces])
    finally:
        for part in parts:
            if isinstance(part, memoryview):
                part.release()


def _key(data: wire.Buffer, field: wire.Field) -> int:
    """Where what stands before a field's content begins."""
    head = wire.head(field.number, field.end - field.start)
    start = field.start - len(head)
    if start < 0 or bytes(data[start : field.start]) != head:
        raise ValueError("a field's key is unusual")
    return start
