"""MaxPool of integers behind packed layers, put on an operator of the library as the model is loaded.

A runtime pools the bytes that a packed layer gives, channels first, one at a time: in a net of few layers
that takes as long as some of them. Dense, its own layers pass bytes with channels last, for which it has
another pool; so only a pool behind packed layers is replaced, with the nodes around it that dequantize and
quantize alike. No number changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from . import wire
from .domains import DOMAIN
from .splice import Edit, appended, removed

#: The library's operator.
OPERATOR = "QMaxPool"
_POOL, _REAL, _STEPS = "MaxPool", "DequantizeLinear", "QuantizeLinear"
#: What passes on the bytes of the layers before it, in their order.
_PASSES = frozenset({_POOL, _REAL, _STEPS, "Concat", "Clip"})
#: Layers before a pool are looked for so many nodes back.
_FAR = 64
_INTS = 7


@dataclass
class _Node:
    """A node of the graph; attributes by name."""

    place: wire.Field
    operator: str = ""
    domain: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    attributes: dict[str, wire.Field] = field(default_factory=dict)

    def is_of_onnx(self, operator: str) -> bool:
        return self.operator == operator and self.domain in ("", "ai.onnx", "com.microsoft")


def replaced(data: wire.Buffer, packed: Collection[wire.Field], uses: Mapping[str, int]) -> list[Edit]:
    """What is to change so that pools become operators of the library.

    Parameters
    ----------
    packed
        Layers of integers that run on the library and give bytes: nodes of the graph.
    uses
        How often each name is an input of any node.

    Raises
    ------
    ValueError
        If the bytes are no model, or it is written in an unusual way.
    """
    graphs = wire.graphs(data)
    if len(graphs) != 1 or not packed:
        return []
    nodes = [_read(data, place) for place in wire.inside(data, graphs[0], wire.GRAPH_NODES)]
    pools = [node for node in nodes if node.is_of_onnx(_POOL)]
    if not pools:
        return []
    constants = _Constants(data, graphs[0])
    outputs = wire.named(data, graphs[0], wire.GRAPH_OUTPUTS, wire.VALUE_NAME)
    left = Counter(uses) + Counter(name for name, _ in outputs)
    makers = {name: node for node in nodes for name in node.outputs}
    readers = {name: node for node in nodes for name in node.inputs}
    edits, pieces, unread = [], [], []
    for pool in pools:
        attributes = _attributes(data, pool) if pool.inputs and len(pool.outputs) == 1 else None
        if attributes is None:
            continue
        before, behind = makers.get(pool.inputs[0]), readers.get(pool.outputs[0])
        if before is None or behind is None or left[pool.outputs[0]] != 1:
            continue
        if not (before.is_of_onnx(_REAL) and behind.is_of_onnx(_STEPS) and constants.same(before, behind)):
            continue
        if not _is_behind(before, makers, packed):
            continue
        left[pool.inputs[0]] -= 1
        gone = [pool, behind] if left[pool.inputs[0]] else [pool, behind, before]
        edits += [removed(data, node.place) for node in gone]
        unread += [name for node in gone for name in node.inputs[1:]]
        pieces.append(_node(before.inputs[0], behind.outputs[0], attributes))
    left.subtract(unread)
    places = [constants.held[name] for name in set(unread) if not left[name] and name in constants.held]
    edits += [removed(data, place) for place in places]
    return [*edits, *appended(graphs[0], *pieces)]


def _node(x: str, y: str, attributes: bytes) -> bytes:
    strings = [(wire.NODE_INPUTS, x), (wire.NODE_OUTPUTS, y)]
    strings += [(wire.NODE_OPERATOR, OPERATOR), (wire.NODE_DOMAIN, DOMAIN)]
    content = b"".join(wire.message(number, text.encode()) for number, text in strings)
    return wire.message(wire.GRAPH_NODES, content + attributes)


def _read(data: wire.Buffer, place: wire.Field) -> _Node:
    node = _Node(place)
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


class _Constants:
    """The initializers that nobody who runs the model may replace, and where each lies."""

    def __init__(self, data: wire.Buffer, graph: wire.Field) -> None:
        self._data = data
        self.held = wire.constants(data, graph)

    def same(self, one: _Node, other: _Node) -> bool:
        """Whether two nodes have scales and zero points of one value, along one axis."""
        pairs = list(zip(one.inputs[1:], other.inputs[1:], strict=False))
        return (
            len(one.inputs) == len(other.inputs) == 3
            and self._axis(one) == self._axis(other)
            and all(a == b or (self._content(a) == self._content(b) is not None) for a, b in pairs)
        )

    def _axis(self, node: _Node) -> list[int]:
        found = node.attributes.get("axis")
        return [1] if found is None else list(wire.numbers(self._data, found, wire.ATTRIBUTE_INT))

    def _content(self, name: str) -> bytes | None:
        """What a constant is, but for its name."""
        if name not in self.held:
            return None
        place = self.held[name]
        (named,) = wire.inside(self._data, place, wire.TENSOR_NAME)
        before = self._data[place.start : wire.begin(self._data, named)]
        return bytes(before) + bytes(self._data[named.end : place.end])


def _is_behind(node: _Node, makers: Mapping[str, _Node], packed: Collection[wire.Field]) -> bool:
    """Whether all the layers that a value comes from are packed ones."""
    waiting, seen = [node], 0
    while waiting and seen < _FAR:
        node, seen = waiting.pop(), seen + 1
        if node.place in packed:
            continue
        if not any(node.is_of_onnx(name) for name in _PASSES):
            return False
        sources = node.inputs if node.operator == "Concat" else node.inputs[:1]
        found = [makers.get(name) for name in sources]
        waiting += [maker for maker in found if maker is not None]
        if None in found or not found:
            return False
    return not waiting


def _attributes(data: wire.Buffer, pool: _Node) -> bytes | None:
    """The operator's attributes; None of a pool that it cannot be."""
    known = {"kernel_shape", "strides", "pads", "ceil_mode", "dilations", "storage_order", "auto_pad"}

    def ints(name: str, default: list[int], number: int = wire.ATTRIBUTE_INTS) -> list[int]:
        found = pool.attributes.get(name)
        return default if found is None else list(wire.numbers(data, found, number))

    kernel = ints("kernel_shape", [])
    strides, pads = ints("strides", [1, 1]), ints("pads", [0] * 4)
    mode = ints("ceil_mode", [0], wire.ATTRIBUTE_INT) or [0]
    auto = pool.attributes.get("auto_pad")
    padded = (
        []
        if auto is None
        else [wire.text(data, text) for text in wire.inside(data, auto, wire.ATTRIBUTE_STRING)]
    )
    if (
        set(pool.attributes) - known
        or (len(kernel), len(strides), len(pads)) != (2, 2, 4)
        or set(ints("dilations", [1])) - {1}
        or set(padded) - {"NOTSET"}
        or not 0 <= mode[0] <= 1
    ):
        return None
    values = {"kernel_shape": kernel, "strides": strides, "pads": pads, "ceil_mode": mode}
    return b"".join(
        wire.message(wire.NODE_ATTRIBUTES, _ints(name, numbers)) for name, numbers in values.items()
    )


def _ints(name: str, numbers: list[int]) -> bytes:
    content = wire.message(wire.ATTRIBUTE_NAME, name.encode()) + wire.number(wire.ATTRIBUTE_TYPE, _INTS)
    return content + b"".join(wire.number(wire.ATTRIBUTE_INTS, value) for value in numbers)
