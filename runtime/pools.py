"""MaxPool of integers behind packed layers, put on an operator of the library as the model is loaded.

A runtime pools the bytes that a packed layer gives, channels first, one at a time: in a net of few layers
that takes as long as some of them. Dense, its own layers pass bytes with channels last, for which it has
another pool; so only a pool behind packed layers is replaced, with the nodes around it that dequantize and
quantize alike. No number changes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from . import wire
from .domains import DOMAIN
from .nodes import Graph, GraphNode, ints, padded_by_name, written
from .splice import Edit, appended, removed

#: The library's operator.
OPERATOR = "QMaxPool"
_POOL, _REAL, _STEPS = "MaxPool", "DequantizeLinear", "QuantizeLinear"
#: What passes on the bytes of the layers before it, in their order.
_PASSES = frozenset({_POOL, _REAL, _STEPS, "Concat", "Clip"})
#: Layers before a pool are looked for so many nodes back.
_FAR = 64


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
    graph = Graph(data, graphs[0], uses)
    pools = [node for node in graph.nodes if node.is_of_onnx(_POOL)]
    if not pools:
        return []
    makers, left = graph.makers, graph.left
    edits, pieces, unread = [], [], []
    for pool in pools:
        attributes = _attributes(data, pool) if pool.inputs and len(pool.outputs) == 1 else None
        if attributes is None:
            continue
        before, behind = makers.get(pool.inputs[0]), graph.readers.get(pool.outputs[0])
        if before is None or behind is None or left[pool.outputs[0]] != 1:
            continue
        if not (before.is_of_onnx(_REAL) and behind.is_of_onnx(_STEPS) and _same(graph, before, behind)):
            continue
        if not _is_behind(before, makers, packed):
            continue
        left[pool.inputs[0]] -= 1
        gone = [pool, behind] if left[pool.inputs[0]] else [pool, behind, before]
        edits += [removed(data, node.place) for node in gone]
        unread += [name for node in gone for name in node.inputs[1:]]
        pieces.append(written(OPERATOR, DOMAIN, before.inputs[:1], behind.outputs[0], attributes))
    return [*edits, *graph.let_go(unread), *appended(graphs[0], *pieces)]


def _same(graph: Graph, one: GraphNode, other: GraphNode) -> bool:
    """Whether two nodes have constant scales and zero points of one value, along one axis."""
    pairs = list(zip(one.inputs[1:], other.inputs[1:], strict=False))
    return (
        len(one.inputs) == len(other.inputs) == 3
        and ints(graph.data, one, "axis", [1]) == ints(graph.data, other, "axis", [1])
        and all(a == b or (_content(graph, a) == _content(graph, b) is not None) for a, b in pairs)
    )


def _content(graph: Graph, name: str) -> bytes | None:
    """What a constant is, but for its name."""
    if name not in graph.held:
        return None
    place = graph.held[name]
    (named,) = wire.inside(graph.data, place, wire.TENSOR_NAME)
    before = graph.data[place.start : wire.begin(graph.data, named)]
    return bytes(before) + bytes(graph.data[named.end : place.end])


def _is_behind(node: GraphNode, makers: Mapping[str, GraphNode], packed: Collection[wire.Field]) -> bool:
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


def _attributes(data: wire.Buffer, pool: GraphNode) -> dict[str, int | Sequence[int]] | None:
    """The operator's attributes; None of a pool that it cannot be."""
    known = {"kernel_shape", "strides", "pads", "ceil_mode", "dilations", "storage_order", "auto_pad"}
    kernel = ints(data, pool, "kernel_shape", [])
    strides, pads = ints(data, pool, "strides", [1, 1]), ints(data, pool, "pads", [0] * 4)
    mode = ints(data, pool, "ceil_mode", [0]) or [0]
    if (
        set(pool.attributes) - known
        or (len(kernel), len(strides), len(pads)) != (2, 2, 4)
        or set(ints(data, pool, "dilations", [1])) - {1}
        or padded_by_name(data, pool)
        or not 0 <= mode[0] <= 1
    ):
        return None
    return {"kernel_shape": kernel, "strides": strides, "pads": pads, "ceil_mode": mode}
