"""What the operations of a pickle do: objects of plain data, and calls of the functions of a table alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .. import budget
from .names import ForbiddenGlobal, Global
from .stack import DICT, LIST, Stack

_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}
#: Beyond this, different integers have one hash: a dict of them takes the square of its size.
_PLAIN_INTEGER = (1 << 61) - 2


class Machine(Stack):
    """A stack with the operations on it.

    Parameters
    ----------
    table
        Globals by name.
    persistent
        What stands for a persistent id: a storage.
    build
        What an object becomes with a state (`object, state -> object`), or raises.
    """

    def __init__(
        self,
        data: bytes,
        where: str,
        table: Mapping[str, Global],
        persistent: Callable[[Any], Any],
        build: Callable[[Any, Any], Any],
        purse: budget.Purse,
        start: int = 0,
    ) -> None:
        super().__init__(data, where, purse, start)
        self.table, self.persistent, self.build = table, persistent, build
        self.memo: dict[int, Any] = {}
        self.tuple_keys = 0

    def plain(self, value: Any) -> Any:
        """`value`, if it may be part of an object: a function may not."""
        if isinstance(value, Global):
            raise ForbiddenGlobal(value.name)
        return value

    def find(self, module: str, name: str) -> None:
        """Push what a name stands for."""
        full = f"{_RENAMED.get(module, module)}.{name}"
        found = self.table.get(full)
        if found is None:
            raise ForbiddenGlobal(full)
        self.stack.append(found if found.value is None else found.value)

    def reduce(self) -> None:
        """Call a function of the table."""
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Global):
            raise self.broken("it calls an object that is no function")
        if function.call is None:
            raise ForbiddenGlobal(function.name)
        if not isinstance(arguments, tuple):
            raise self.broken("it calls without arguments")
        self.purse.take(LIST)
        self.stack.append(function.call(*arguments))

    def new(self) -> None:
        """Make an instance of a class of the table."""
        arguments, made = self.pop(), self.pop()
        if not isinstance(made, Global) or made.new is None:
            raise ForbiddenGlobal(made.name if isinstance(made, Global) else type(made).__name__)
        if not isinstance(arguments, tuple):
            raise self.broken("it makes an object without arguments")
        self.purse.take(DICT)
        self.stack.append(made.new(*arguments))

    def state(self) -> None:
        """Give the object on top its state."""
        state = self.pop()
        value = self.pop()
        self.stack.append(self.build(value, state))

    def put(self, number: int) -> None:
        """Remember the object on top."""
        self.purse.take(LIST)
        self.memo[number] = self.top()

    def get(self, number: int) -> None:
        """Push an object that was remembered."""
        if number not in self.memo:
            raise self.broken(f"it remembers no object {number:,}")
        self.stack.append(self.memo[number])

    def append(self, items: list[Any]) -> None:
        """Add to the list on top."""
        target = self.top()
        if type(target) is not list:
            raise self.broken(f"it appends to a {type(target).__name__}")
        self.purse.take(8 * len(items))
        target.extend([self.plain(item) for item in items])

    def add(self, items: list[Any]) -> None:
        """Add to the set on top."""
        target = self.top()
        if type(target) is not set:
            raise self.broken(f"it adds to a {type(target).__name__}")
        self.purse.take(LIST * len(items))
        target.update(self.key(item) for item in items)

    def items(self, pairs: list[Any]) -> None:
        """Set items of the dict on top."""
        target = self.top()
        if not isinstance(target, dict) or len(pairs) % 2:
            raise self.broken(f"it sets items of a {type(target).__name__}")
        self.purse.take(LIST * len(pairs) // 2)
        for i in range(0, len(pairs), 2):
            target[self.key(pairs[i])] = self.plain(pairs[i + 1])

    def key(self, value: Any) -> Any:
        """`value`, if a dict of many such keys takes a time that goes with their number."""
        kind = type(value)
        if value is None or kind in (str, bytes, bool, float):
            return value
        if kind is int and abs(value) < _PLAIN_INTEGER:
            return value
        if kind is tuple and len(value) <= 8 and self.tuple_keys < budget.MAX_TUPLE_KEYS:
            self.tuple_keys += 1
            return tuple(self._atom(item) for item in value)
        raise self.broken(f"a {kind.__name__} is no key of a checkpoint's dict")

    def _atom(self, value: Any) -> Any:
        if type(value) is tuple:
            raise self.broken("a tuple of tuples is no key of a checkpoint's dict")
        return self.key(value)
