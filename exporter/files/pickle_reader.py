"""A pickle of plain data and tensors, read by an interpreter of our own that can do nothing else.

Python's unpickler imports and calls what a pickle names; torch's weights-only one has a list, but takes any
argument: sizes that fill the memory, keys whose hash recurses until the stack ends. Here a name stands for a
row of a table (`rebuild`), whose function checks its arguments and charges what it makes; opcodes are
counted, objects are charged, and nothing is hashed that could collide or recurse.

NOTES
-----
Nothing here imports, and nothing here calls anything but the functions of that table.
"""

from __future__ import annotations

import argparse
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import CorruptFileError, InputError, UnsupportedError
from ...text import shown
from . import budget

_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}
#: Beyond this, different integers have one hash: a dict of them takes the square of its size.
_PLAIN_INTEGER = (1 << 61) - 2
#: Bytes of an object of each kind, as CPython makes them.
_DICT, _LIST, _SMALL = 240, 100, 50


class ForbiddenGlobal(InputError):
    """A pickle names something that is not data; `name` says what."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True, eq=False)
class Global:
    """A name in a pickle: `call` makes an object of its arguments, or `value` is one.

    `new` makes an empty instance, for pickles that give it its state afterwards.
    """

    name: str
    call: Callable[..., Any] | None = None
    value: Any = None
    new: Callable[..., Any] | None = None


class PickleReader:
    """One pickle at the start of `data`, from byte `start`.

    Parameters
    ----------
    table
        Globals by name.
    persistent
        What stands for a persistent id: a storage.
    build
        What an object becomes with a state (`object, state -> object`), or raises.
    opcodes
        At most so many.

    Raises
    ------
    ForbiddenGlobal
        If the pickle names what is not in the table.
    CorruptFileError
        If it is no pickle, or not one of data.
    """

    def __init__(
        self,
        data: bytes,
        where: str,
        table: Mapping[str, Global],
        persistent: Callable[[Any], Any],
        build: Callable[[Any, Any], Any],
        purse: budget.Purse,
        *,
        start: int = 0,
        opcodes: int = budget.MAX_OPCODES,
    ) -> None:
        self.data, self.where, self.at = data, where, start
        self.table, self.persistent, self.build = table, persistent, build
        self.purse, self.opcodes = purse, opcodes
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.tuple_keys = 0
        self.depths: dict[int, int] = {}

    def load(self) -> Any:
        """The object; `at` is then the first byte behind its pickle."""
        left, data, table = self.opcodes, self.data, _OPCODES
        try:
            while True:
                code = data[self.at]
                self.at += 1
                if code == _STOP:
                    return self._last()
                left -= 1
                if left < 0:
                    raise UnsupportedError(
                        f"{self.where}: its pickle has more than {self.opcodes:,} operations;"
                        " save only the state dict"
                    )
                table[code](self)
        except (IndexError, struct.error) as error:
            raise CorruptFileError(f"{self.where}: its pickle is damaged or ends too early") from error
        except KeyError as error:
            raise self._broken(f"operation {error} is none of a checkpoint's") from error
        except RecursionError:
            raise
        except (UnicodeDecodeError, TypeError, ValueError, OverflowError, RuntimeError) as error:
            text = shown(" ".join(str(error).split()))  # torch's own are RuntimeErrors
            raise self._broken(text) from error

    def _broken(self, what: str) -> CorruptFileError:
        return CorruptFileError(f"{self.where}: its pickle is damaged at byte {self.at:,}: {what}")

    def _last(self) -> Any:
        if len(self.stack) != 1 or self.marks:
            raise self._broken("it leaves objects over")
        value = self._plain(self.stack.pop())
        prove_shape(value, self.where)
        return value

    # Arguments

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

    # Stack

    def push(self, value: Any, size: int = 0) -> None:
        """Put an object on the stack and charge `size` bytes for it."""
        if size:
            self.purse.take(size)
        self.stack.append(value)

    def pop(self) -> Any:
        """The object on top; never one below the last mark."""
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise self._broken("it takes more objects than there are")
        return self.stack.pop()

    def top(self) -> Any:
        """The object on top, left where it is."""
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise self._broken("it takes more objects than there are")
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
            raise _too_deep(self.where)
        made = tuple(items)
        self.push(made, _SMALL + 8 * len(items))
        if depth > 1:
            depths[id(made)] = depth
        else:
            depths.pop(id(made), None)  # the number of an object that is gone

    def text(self, size: int) -> None:
        """Push the next `size` bytes as text."""
        raw = self.take(size)
        self.push(raw.decode("utf-8"), _SMALL + 4 * size)

    def _plain(self, value: Any) -> Any:
        """`value`, if it may be part of an object: a function may not."""
        if isinstance(value, Global):
            raise ForbiddenGlobal(value.name)
        return value

    # Operations

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
            raise self._broken("it calls an object that is no function")
        if function.call is None:
            raise ForbiddenGlobal(function.name)
        if not isinstance(arguments, tuple):
            raise self._broken("it calls without arguments")
        self.purse.take(_LIST)
        self.stack.append(function.call(*arguments))

    def new(self) -> None:
        """Make an instance of a class of the table."""
        arguments, made = self.pop(), self.pop()
        if not isinstance(made, Global) or made.new is None:
            raise ForbiddenGlobal(made.name if isinstance(made, Global) else type(made).__name__)
        if not isinstance(arguments, tuple):
            raise self._broken("it makes an object without arguments")
        self.purse.take(_DICT)
        self.stack.append(made.new(*arguments))

    def state(self) -> None:
        """Give the object on top its state."""
        state = self.pop()
        value = self.pop()
        self.stack.append(self.build(value, state))

    def put(self, number: int) -> None:
        """Remember the object on top."""
        self.purse.take(_LIST)
        self.memo[number] = self.top()

    def get(self, number: int) -> None:
        """Push an object that was remembered."""
        if number not in self.memo:
            raise self._broken(f"it remembers no object {number:,}")
        self.stack.append(self.memo[number])

    def append(self, items: list[Any]) -> None:
        """Add to the list on top."""
        target = self.top()
        if type(target) is not list:
            raise self._broken(f"it appends to a {type(target).__name__}")
        self.purse.take(8 * len(items))
        target.extend([self._plain(item) for item in items])

    def add(self, items: list[Any]) -> None:
        """Add to the set on top."""
        target = self.top()
        if type(target) is not set:
            raise self._broken(f"it adds to a {type(target).__name__}")
        self.purse.take(_LIST * len(items))
        target.update(self.key(item) for item in items)

    def items(self, pairs: list[Any]) -> None:
        """Set items of the dict on top."""
        target = self.top()
        if not isinstance(target, dict) or len(pairs) % 2:
            raise self._broken(f"it sets items of a {type(target).__name__}")
        self.purse.take(_LIST * len(pairs) // 2)
        for i in range(0, len(pairs), 2):
            target[self.key(pairs[i])] = self._plain(pairs[i + 1])

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
        raise self._broken(f"a {kind.__name__} is no key of a checkpoint's dict")

    def _atom(self, value: Any) -> Any:
        if type(value) is tuple:
            raise self._broken("a tuple of tuples is no key of a checkpoint's dict")
        return self.key(value)


def prove_shape(value: Any, where: str) -> None:
    """Refuse an object that holds itself, is too deep, or is far larger than what it is made of.

    Whoever reads on walks it as a tree: a list of lists of one list takes what it expands to.

    Raises
    ------
    UnsupportedError
        If it does.
    """
    nodes: dict[int, int] = {}  # of each container, at every place it stands
    entered: set[int] = set()
    there = 1
    pending: list[tuple[Any, bool]] = [(value, False)]
    while pending:
        item, leaving = pending.pop()
        children = _children(item)
        if children is None or (id(item) in nodes and not leaving):
            continue
        if leaving:
            entered.discard(id(item))
            nodes[id(item)] = 1 + sum(nodes.get(id(child), 1) for child in children)
            continue
        if id(item) in entered:
            raise UnsupportedError(f"{where}: an object in it holds itself; save only the state dict")
        entered.add(id(item))
        if len(entered) > budget.MAX_DEPTH:
            raise _too_deep(where)
        there += len(children)
        pending.append((item, True))
        pending += [(child, False) for child in children]
    if nodes.get(id(value), 1) > budget.MAX_EXPANDED + budget.MAX_GROWTH * there:
        raise UnsupportedError(
            f"{where}: shared lists and dicts that expand to {nodes[id(value)]:,} objects;"
            " save only the state dict"
        )


def _too_deep(where: str) -> UnsupportedError:
    return UnsupportedError(f"{where}: nested more than {budget.MAX_DEPTH} deep; save only the state dict")


def _children(value: Any) -> list[Any] | None:
    """What a container holds; None for anything else."""
    if isinstance(value, dict):
        extra = getattr(value, "__dict__", None)
        return [*value.values(), *extra.values()] if extra else list(value.values())
    if type(value) in (list, tuple):
        return list(value)
    if type(value) is argparse.Namespace:
        return list(vars(value).values())
    return None


_STOP = ord(".")


def _unsigned(size: int) -> Callable[[PickleReader], None]:
    return lambda reader: reader.stack.append(reader.number(size))


def _signed(reader: PickleReader) -> None:
    reader.push(int.from_bytes(reader.take(4), "little", signed=True), 32)


def _long(reader: PickleReader) -> None:
    size = reader.number(1)
    if size > 32:
        raise ValueError("an integer of more than 32 bytes")
    reader.push(int.from_bytes(reader.take(size), "little", signed=True), 64)


def _float(reader: PickleReader) -> None:
    reader.push(struct.unpack(">d", reader.take(8))[0], 24)


def _raw(size: int) -> Callable[[PickleReader], None]:
    def operation(reader: PickleReader) -> None:
        raw = reader.take(reader.number(size))
        reader.push(raw, _SMALL + len(raw))

    return operation


def _text(size: int) -> Callable[[PickleReader], None]:
    return lambda reader: reader.text(reader.number(size))


def _constant(value: Any) -> Callable[[PickleReader], None]:
    return lambda reader: reader.stack.append(value)


def _tuple(count: int) -> Callable[[PickleReader], None]:
    def operation(reader: PickleReader) -> None:
        items = [reader.pop() for _ in range(count)]
        reader.tuple_of(items[::-1])

    return operation


def _marked_tuple(reader: PickleReader) -> None:
    reader.tuple_of(reader.marked())


def _stack_global(reader: PickleReader) -> None:
    name, module = reader.pop(), reader.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise ValueError("a name that is no text")
    reader.find(module, name)


def _pair(reader: PickleReader) -> None:
    value, key = reader.pop(), reader.pop()
    reader.items([key, value])


def _one(reader: PickleReader) -> None:
    reader.append([reader.pop()])


def _persistent(reader: PickleReader) -> None:
    reader.push(reader.persistent(reader.pop()), _LIST)


#: Every operation that pickles of protocols 2 to 5 use for data; any other is refused.
_OPCODES: dict[int, Callable[[PickleReader], None]] = {
    0x80: lambda reader: _protocol(reader.number(1)),
    0x95: lambda reader: _frame(reader),
    ord("c"): lambda reader: reader.find(reader.line(), reader.line()),
    0x93: _stack_global,
    ord("R"): PickleReader.reduce,
    0x81: PickleReader.new,
    ord("b"): PickleReader.state,
    ord("a"): _one,
    ord("e"): lambda reader: reader.append(reader.marked()),
    ord("s"): _pair,
    ord("u"): lambda reader: reader.items(reader.marked()),
    0x90: lambda reader: reader.add(reader.marked()),
    ord("("): lambda reader: reader.marks.append(len(reader.stack)),
    ord("t"): _marked_tuple,
    0x85: _tuple(1),
    0x86: _tuple(2),
    0x87: _tuple(3),
    ord(")"): _constant(()),
    ord("]"): lambda reader: reader.push([], _LIST),
    ord("}"): lambda reader: reader.push({}, _DICT),
    0x8F: lambda reader: reader.push(set(), _DICT),
    ord("N"): _constant(None),
    0x88: _constant(True),
    0x89: _constant(False),
    ord("J"): _signed,
    ord("K"): _unsigned(1),
    ord("M"): _unsigned(2),
    0x8A: _long,
    ord("G"): _float,
    ord("X"): _text(4),
    0x8C: _text(1),
    0x8D: _text(8),
    ord("U"): _text(1),
    ord("T"): _text(4),
    ord("C"): _raw(1),
    ord("B"): _raw(4),
    0x8E: _raw(8),
    ord("Q"): _persistent,
    ord("h"): lambda reader: reader.get(reader.number(1)),
    ord("j"): lambda reader: reader.get(reader.number(4)),
    ord("q"): lambda reader: reader.put(reader.number(1)),
    ord("r"): lambda reader: reader.put(reader.number(4)),
    0x94: lambda reader: reader.put(len(reader.memo)),
}


def _protocol(number: int) -> None:
    if not 2 <= number <= 5:
        raise ValueError(f"protocol {number}")


def _frame(reader: PickleReader) -> None:
    reader.number(8)  # how the writer buffered: nothing depends on it
