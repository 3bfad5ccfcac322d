"""The bytes of a pickle and the objects on its stack, every one charged."""

from __future__ import annotations

from typing import Any

from ....errors import CorruptFileError
from .. import budget
from .shape import too_deep

#: Bytes of an object of each kind, as CPython makes them.
DICT, LIST, SMALL = 240, 100, 50


class Stack:
    """What a pickle has read and made so far.

    Parameters
    ----------
    data
        The pickle begins at byte `start` of it.
    where
        What messages call it.
    purse
        What objects are charged to.
    """

    def __init__(self, data: bytes, where: str, purse: budget.Purse, start: int) -> None:
        self.data, self.where, self.at, self.purse = data, where, start, purse
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.depths: dict[int, int] = {}

    def broken(self, what: str) -> CorruptFileError:
        return CorruptFileError(f"{self.where}: its pickle is damaged at byte {self.at:,}: {what}")

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        end = self.at + size
        if size < 0 or end > len(self.data):
            raise IndexError
        part = self.data[self.at : end]
        self.at = end
        return part

    def number(self, size: int) -> int:
        """The next unsigned integer of `size` bytes."""
        return int.from_bytes(self.take(size), "little")

    def line(self) -> str:
        """The text up to the next newline."""
        end = self.data.index(b"\n", self.at, self.at + 1000)
        text = self.data[self.at : end].decode("utf-8")
        self.at = end + 1
        return text

    def push(self, value: Any, size: int = 0) -> None:
        """Put an object on the stack and charge `size` bytes for it."""
        if size:
            self.purse.take(size)
        self.stack.append(value)

    def pop(self) -> Any:
        """The object on top; never one below the last mark."""
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise self.broken("it takes more objects than there are")
        return self.stack.pop()

    def top(self) -> Any:
        """The object on top, left where it is."""
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise self.broken("it takes more objects than there are")
        return self.stack[-1]

    def marked(self) -> list[Any]:
        """The objects above the last mark, taken off with it."""
        at = self.marks.pop()
        items = self.stack[at:]
        del self.stack[at:]
        return items

    def tuple_of(self, items: list[Any]) -> None:
        """Push a tuple; a chain of them, which any hash would follow, ends before it is a danger."""
        depths = self.depths
        depth = 1 + max((depths.get(id(item), 1) for item in items if type(item) is tuple), default=0)
        if depth > budget.MAX_DEPTH:
            raise too_deep(self.where)
        made = tuple(items)
        self.push(made, SMALL + 8 * len(items))
        if depth > 1:
            depths[id(made)] = depth
        else:
            depths.pop(id(made), None)  # the number of an object that is gone

    def text(self, size: int) -> None:
        """Push the next `size` bytes as text."""
        raw = self.take(size)
        self.push(raw.decode("utf-8"), SMALL + 4 * size)
