"""The operations of a pickle, by their byte."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from .machine import Machine
from .stack import DICT, LIST, SMALL

STOP = ord(".")


def _unsigned(size: int) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(machine.number(size))


def _signed(machine: Machine) -> None:
    machine.push(int.from_bytes(machine.take(4), "little", signed=True), 32)


def _long(machine: Machine) -> None:
    size = machine.number(1)
    if size > 32:
        raise ValueError("an integer of more than 32 bytes")
    machine.push(int.from_bytes(machine.take(size), "little", signed=True), 64)


def _float(machine: Machine) -> None:
    machine.push(struct.unpack(">d", machine.take(8))[0], 24)


def _raw(size: int) -> Callable[[Machine], None]:
    def operation(machine: Machine) -> None:
        raw = machine.take(machine.number(size))
        machine.push(raw, SMALL + len(raw))

    return operation


def _text(size: int) -> Callable[[Machine], None]:
    return lambda machine: machine.text(machine.number(size))


def _constant(value: Any) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(value)


def _tuple(count: int) -> Callable[[Machine], None]:
    def operation(machine: Machine) -> None:
        items = [machine.pop() for _ in range(count)]
        machine.tuple_of(items[::-1])

    return operation


def _marked_tuple(machine: Machine) -> None:
    machine.tuple_of(machine.marked())


def _stack_global(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise ValueError("a name that is no text")
    machine.find(module, name)


def _pair(machine: Machine) -> None:
    value, key = machine.pop(), machine.pop()
    machine.items([key, value])


def _one(machine: Machine) -> None:
    machine.append([machine.pop()])


def _persistent(machine: Machine) -> None:
    machine.push(machine.persistent(machine.pop()), LIST)


#: Every operation that pickles of protocols 2 to 5 use for data; any other is refused.
OPCODES: dict[int, Callable[[Machine], None]] = {
    0x80: lambda machine: _protocol(machine.number(1)),
    0x95: lambda machine: _frame(machine),
    ord("c"): lambda machine: machine.find(machine.line(), machine.line()),
    0x93: _stack_global,
    ord("R"): Machine.reduce,
    0x81: Machine.new,
    ord("b"): Machine.state,
    ord("a"): _one,
    ord("e"): lambda machine: machine.append(machine.marked()),
    ord("s"): _pair,
    ord("u"): lambda machine: machine.items(machine.marked()),
    0x90: lambda machine: machine.add(machine.marked()),
    ord("("): lambda machine: machine.marks.append(len(machine.stack)),
    ord("t"): _marked_tuple,
    0x85: _tuple(1),
    0x86: _tuple(2),
    0x87: _tuple(3),
    ord(")"): _constant(()),
    ord("]"): lambda machine: machine.push([], LIST),
    ord("}"): lambda machine: machine.push({}, DICT),
    0x8F: lambda machine: machine.push(set(), DICT),
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
    ord("h"): lambda machine: machine.get(machine.number(1)),
    ord("j"): lambda machine: machine.get(machine.number(4)),
    ord("q"): lambda machine: machine.put(machine.number(1)),
    ord("r"): lambda machine: machine.put(machine.number(4)),
    0x94: lambda machine: machine.put(len(machine.memo)),
}


def _protocol(number: int) -> None:
    if not 2 <= number <= 5:
        raise ValueError(f"protocol {number}")


def _frame(machine: Machine) -> None:
    machine.number(8)  # how the writer buffered: nothing depends on it
