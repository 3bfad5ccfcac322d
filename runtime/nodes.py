"""Nodes and constants of a serialized graph, as those read them who put other nodes in their place."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import wire
from .splice import Edit, removed

#: Element types (of ONNX), and those of numpy.
_TYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype("<f4"), 2: np.dtype("u1"), 3: np.dtype("i1"), 4: np.dtype("<u2"), 6: np.dtype("<i4")
}  # fmt: skip
_INT, _INTS = 2, 7


@dataclass
class GraphNode:
    """A node of the graph; attributes by name."""

    place: wire.Field
    operator: str = ""
    domain: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    attributes: dict[str, wire.Field] = field(default_factory=dict)

    def is_of_onnx(self, operator: str) -> bool:
        """Whether it is this operator of ONNX, or onnxruntime's own of that name."""
        return self.operator == operator and self.domain in ("", "ai.onnx", "com.microsoft")


class Graph:
    """The nodes of a graph by what they give and read, and its constants.

    Parameters
    ----------
    uses
        How often each name is an input of any node of the model.
    """

    def __init__(self, data: wire.Buffer, place: wire.Field, uses: Mapping[str, int]) -> None:
        self.data, self.place, self._uses = data, place, uses
        self.nodes = [read(data, node) for node in wire.inside(data, place, wire.GRAPH_NODES)]

    @cached_property
    def held(self) -> Mapping[str, wire.Field]:
        """The initializers that nobody who runs the model may replace, and where each lies."""
        return wire.constants(self.data, self.place)

    @cached_property
    def makers(self) -> dict[str, GraphNode]:
        """By what they give."""
        return {name: node for node in self.nodes for name in node.outputs}

    @cached_property
    def readers(self) -> dict[str, GraphNode]:
        """By what they read; of several the last."""
        return {name: node for node in self.nodes for name in node.inputs}

    @cached_property
    def left(self) -> Counter[str]:
        """How often each value is read, outputs once more; to be counted down where readers go."""
        outputs = wire.named(self.data, self.place, wire.GRAPH_OUTPUTS, wire.VALUE_NAME)
        return Counter(self._uses) + Counter(name for name, _ in outputs)

    def let_go(self, unread: Iterable[str]) -> list[Edit]:
        """What takes out the constants that nobody reads any more, once these names are not read so often."""
        names = list(unread)
        self.left.subtract(names)
        return [
            removed(self.data, self.held[name])
            for name in dict.fromkeys(names)
            if not self.left[name] and name in self.held
        ]


def read(data: wire.Buffer, place: wire.Field) -> GraphNode:
    """The node that lies there.

    Raises
    ------
    ValueError
        If the bytes are no node.
    """
    node = GraphNode(place)
    for part in wire.fields(data, place.start, place.end):
        if part.number == wire.NODE_INPUTS:
            node.inputs.append(wire.text(data, part))
        elif part.number == wire.NODE_OUTPUTS:
            node.outputs.append(wire.text(data, part))
        elif part.number == wire.NODE_OPERATOR:
            node.operator = wire.text(data, part)
        elif part.number == wire.NODE_DOMAIN:
            node.domain = wire.text(data, part)
        elif part.number == wire.NODE_ATTRIBUTES:
            for name in wire.inside(data, part, wire.ATTRIBUTE_NAME):
                node.attributes[wire.text(data, name)] = part
    return node


def ints(data: wire.Buffer, node: GraphNode, name: str, default: Sequence[int]) -> list[int]:
    """An attribute that is one whole number, or a list of them."""
    found = node.attributes.get(name)
    if found is None:
        return list(default)
    several = list(wire.numbers(data, found, wire.ATTRIBUTE_INTS))
    return several or list(wire.numbers(data, found, wire.ATTRIBUTE_INT))


def padded_by_name(data: wire.Buffer, node: GraphNode) -> bool:
    """Whether a window's padding hangs on the size of its input."""
    auto = node.attributes.get("auto_pad")
    names = [] if auto is None else list(wire.inside(data, auto, wire.ATTRIBUTE_STRING))
    return any(wire.text(data, name) != "NOTSET" for name in names)


def written(
    operator: str,
    domain: str,
    inputs: Sequence[str],
    output: str,
    attributes: Mapping[str, int | Sequence[int]],
) -> bytes:
    """A field of a graph: a node whose attributes are whole numbers, or lists of them."""
    strings = [(wire.NODE_INPUTS, name) for name in inputs] + [(wire.NODE_OUTPUTS, output)]
    strings += [(wire.NODE_OPERATOR, operator), (wire.NODE_DOMAIN, domain)]
    content = b"".join(wire.message(number, text.encode()) for number, text in strings)
    for name, value in attributes.items():
        one = isinstance(value, int)
        part = wire.message(wire.ATTRIBUTE_NAME, name.encode())
        part += wire.number(wire.ATTRIBUTE_TYPE, _INT if one else _INTS)
        key = wire.ATTRIBUTE_INT if one else wire.ATTRIBUTE_INTS
        part += b"".join(
            wire.number(key, number) for number in ([value] if isinstance(value, int) else value)
        )
        content += wire.message(wire.NODE_ATTRIBUTES, part)
    return wire.message(wire.GRAPH_NODES, content)


def tensor(name: str, values: NDArray[Any]) -> bytes:
    """A field of a graph: an initializer."""
    (kind,) = (kind for kind, dtype in _TYPES.items() if dtype == values.dtype)
    content = b"".join(wire.number(wire.TENSOR_DIMS, size) for size in values.shape)
    content += wire.number(wire.TENSOR_TYPE, kind) + wire.message(wire.TENSOR_NAME, name.encode())
    return wire.message(wire.GRAPH_INITIALIZERS, content + wire.message(wire.TENSOR_RAW, values.tobytes()))


def array(data: wire.Buffer, place: wire.Field, most: int) -> NDArray[Any] | None:
    """What an initializer holds; None of one with more elements, of another type, or with data elsewhere."""
    dims = tuple(wire.numbers(data, place, wire.TENSOR_DIMS))
    dtype = _TYPES.get(next(wire.numbers(data, place, wire.TENSOR_TYPE), 0))
    if dtype is None or math.prod(dims) > most or any(wire.inside(data, place, wire.TENSOR_EXTERNAL)):
        return None
    content = b"".join(
        bytes(data[part.start : part.end]) for part in wire.inside(data, place, wire.TENSOR_RAW)
    )
    if not content and dtype.kind == "f":
        parts = wire.inside(data, place, wire.TENSOR_FLOATS)
        content = b"".join(bytes(data[part.start : part.end]) for part in parts)
    elif not content:
        numbers = [value & 0xFFFFFFFF for value in wire.numbers(data, place, wire.TENSOR_INT32S)]
        content = np.array(numbers, "<u4").astype(dtype).tobytes()
    found = np.frombuffer(content, dtype) if len(content) == math.prod(dims) * dtype.itemsize else None
    return None if found is None else found.reshape(dims)
