"""The fields of a serialized ONNX model where they lie, without reading what is in them.

Only what a loader needs of protobuf's wire format: a device has no `onnx` package, and a model may be
gigabytes, of which this touches a few pages.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

#: Bytes that can be sliced without a copy.
Buffer = memoryview

MODEL_GRAPH, MODEL_OPSETS, MODEL_METADATA, MODEL_FUNCTIONS = 7, 8, 14, 25
GRAPH_NODES, GRAPH_INITIALIZERS, GRAPH_INPUTS, GRAPH_OUTPUTS = 1, 5, 11, 12
NODE_INPUTS, NODE_OUTPUTS, NODE_NAME, NODE_OPERATOR, NODE_ATTRIBUTES, NODE_DOMAIN = 1, 2, 3, 4, 5, 7
ATTRIBUTE_NAME, ATTRIBUTE_INT, ATTRIBUTE_STRING = 1, 3, 4
ATTRIBUTE_GRAPH, ATTRIBUTE_INTS, ATTRIBUTE_GRAPHS = 6, 8, 11
ATTRIBUTE_TYPE, ATTRIBUTE_OF_FUNCTION = 20, 21
TENSOR_DIMS, TENSOR_TYPE, TENSOR_NAME, TENSOR_RAW, TENSOR_EXTERNAL, TENSOR_LOCATION = 1, 2, 8, 9, 13, 14
TENSOR_FLOATS, TENSOR_INT32S = 4, 5
VALUE_NAME, VALUE_TYPE, TYPE_TENSOR, TENSOR_TYPE_SHAPE, SHAPE_DIM, DIM_VALUE = 1, 2, 1, 2, 1, 1
FUNCTION_NAME, FUNCTION_INPUTS, FUNCTION_OUTPUTS, FUNCTION_ATTRIBUTES = 1, 4, 5, 6
FUNCTION_NODES, FUNCTION_OPSETS, FUNCTION_DOMAIN = 7, 9, 10
OPSET_DOMAIN, OPSET_VERSION = 1, 2
ENTRY_KEY, ENTRY_VALUE = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Field(NamedTuple):
    """A field with a length: its number, and the place of its content."""

    number: int
    start: int
    end: int


def fields(data: Buffer, start: int, end: int) -> Iterator[Field]:
    """The fields of a message that have a length (messages, strings, bytes), in their order.

    Raises
    ------
    ValueError
        If the bytes are no message.
    """
    while start < end:
        key, start = _varint(data, start, end)
        kind = key & 7
        if kind == _VARINT:
            start = _varint(data, start, end)[1]
        elif kind == _BYTES:
            size, start = _varint(data, start, end)
            if size > end - start:
                raise ValueError("a field ends behind its message")
            yield Field(key >> 3, start, start + size)
            start += size
        elif kind in (_FIXED64, _FIXED32):
            start += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind}")
    if start != end:
        raise ValueError("a field ends behind its message")


def numbers(data: Buffer, field: Field, number: int) -> Iterator[int]:
    """The numbers, one by one or packed, that the message in a field has under that number.

    Raises
    ------
    ValueError
        If the bytes are no message.
    """
    place, end = field.start, field.end
    while place < end:
        key, place = _varint(data, place, end)
        if key & 7 == _VARINT:
            value, place = _varint(data, place, end)
            if key >> 3 == number:
                yield value
        elif key & 7 == _BYTES:
            size, place = _varint(data, place, end)
            if size > end - place:
                raise ValueError("a field ends behind its message")
            inner = place
            place += size
            while key >> 3 == number and inner < place:
                value, inner = _varint(data, inner, place)
                yield value
        elif key & 7 in (_FIXED64, _FIXED32):
            place += 8 if key & 7 == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {key & 7}")


def _varint(data: Buffer, start: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while start < end and shift < 64:
        byte = data[start]
        start += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, start
        shift += 7
    raise ValueError("a number does not end")


def begin(data: Buffer, field: Field) -> int:
    """Where a field begins: its key and length, and then its content.

    Raises
    ------
    ValueError
        If they are not written as everybody writes them.
    """
    before = head(field.number, field.end - field.start)
    start = field.start - len(before)
    if start < 0 or bytes(data[start : field.start]) != before:
        raise ValueError("a field's key is unusual")
    return start


def whole(data: Buffer) -> Field:
    """All of the bytes, as the content of a field."""
    return Field(0, 0, len(data))


def graphs(data: Buffer) -> list[Field]:
    """The graphs of a model: one, unless it is written in an unusual way.

    Raises
    ------
    ValueError
        If the bytes are no message.
    """
    return list(inside(data, whole(data), MODEL_GRAPH))


def named(data: Buffer, holder: Field, number: int, name: int) -> Iterator[tuple[str, Field]]:
    """The messages in a field under that number, each with the name that it has under the other.

    Raises
    ------
    ValueError
        If the bytes are no message.
    """
    for place in inside(data, holder, number):
        for inner in inside(data, place, name):
            yield text(data, inner), place


def constants(data: Buffer, graph: Field) -> dict[str, Field]:
    """The initializers of a graph that whoever runs it cannot replace.

    Raises
    ------
    ValueError
        If the bytes are no message.
    """
    found = dict(named(data, graph, GRAPH_INITIALIZERS, TENSOR_NAME))
    for name, _ in named(data, graph, GRAPH_INPUTS, VALUE_NAME):
        found.pop(name, None)
    return found


def inside(data: Buffer, field: Field, number: int) -> Iterator[Field]:
    """The fields of that number in the message that a field holds."""
    return (inner for inner in fields(data, field.start, field.end) if inner.number == number)


def text(data: Buffer, field: Field) -> str:
    """A string.

    Raises
    ------
    UnicodeDecodeError
        If it is none (a `ValueError`).
    """
    return bytes(data[field.start : field.end]).decode()


def message(number: int, content: bytes) -> bytes:
    """A field with a length, to be put behind the others of its message."""
    return head(number, len(content)) + content


def head(number: int, size: int) -> bytes:
    """What stands before the content of a field of that length."""
    return _encoded(number << 3 | _BYTES) + _encoded(size)


def number(field: int, value: int) -> bytes:
    """A field that is a small number."""
    return _encoded(field << 3 | _VARINT) + _encoded(value)


def _encoded(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
