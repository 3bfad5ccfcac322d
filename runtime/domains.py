"""Nodes of a model moved to other domains, with the functions that they have there, or to other operators.

Domains are equally long, and so are operators: a node changes in place, and no length in the file does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from . import as_floats, wire
from .splice import Edit

#: The library's operators.
DOMAIN = "sparse_export"
#: Nothing is registered there: onnxruntime inlines the function and folds its decode.
EXPANDED_DOMAIN = "sparse_expand"


@dataclass(frozen=True)
class Node:
    """A node of ours: what it is, where its domain's name and all of it lie.

    `domain` and `called`: where its domain and its operator are named. `within`: the graph or function that
    it is in, or, from the outside to the inside, the graph, the node, the attribute and the graph that is a
    body there, and so on.
    """

    name: str
    operator: str
    domain: wire.Field
    called: wire.Field
    place: wire.Field
    within: tuple[wire.Field, ...]

    @property
    def inner(self) -> bool:
        """Whether it is in a body or a function."""
        return len(self.within) > 1 or self.within[0].number != wire.MODEL_GRAPH


def functions(data: memoryview) -> Iterator[tuple[wire.Field, str]]:
    """The functions of our domain, by name."""
    for function in wire.inside(data, wire.whole(data), wire.MODEL_FUNCTIONS):
        parts = {inner.number: inner for inner in wire.fields(data, function.start, function.end)}
        domain, name = parts.get(wire.FUNCTION_DOMAIN), parts.get(wire.FUNCTION_NAME)
        if domain and name and wire.text(data, domain) == DOMAIN:
            yield function, wire.text(data, name)


def moved_to(
    data: memoryview, wanted: Sequence[tuple[Node, str]]
) -> tuple[list[tuple[Node, str]], list[bytes]]:
    """Those of the nodes that can be had in these ways, and what is to be added for them."""
    names = {node.operator for node, way in wanted if way == EXPANDED_DOMAIN}
    made = {}
    for function, name in functions(data) if names else ():
        if name in names:
            made[name] = _copy(data, function)
    moved = [(node, way) for node, way in wanted if way == as_floats.IN_FLOATS or node.operator in made]
    pieces = [wire.message(wire.MODEL_FUNCTIONS, content) for content in made.values()]
    if made:
        version = wire.message(wire.OPSET_DOMAIN, EXPANDED_DOMAIN.encode())
        pieces.append(wire.message(wire.MODEL_OPSETS, version + wire.number(wire.OPSET_VERSION, 1)))
    return moved, pieces


def _copy(data: memoryview, function: wire.Field) -> bytes:
    """A function in the domain of what is expanded."""
    (domain,) = wire.inside(data, function, wire.FUNCTION_DOMAIN)
    before, behind = data[function.start : domain.start], data[domain.end : function.end]
    return bytes(before) + EXPANDED_DOMAIN.encode() + bytes(behind)


def renamed(moved: Sequence[tuple[Node, str]]) -> list[Edit]:
    """The edits that give nodes their domains, or the names of other operators."""
    return [
        Edit(*node.called[1:], as_floats.inner(node.operator).encode())
        if way == as_floats.IN_FLOATS
        else Edit(*node.domain[1:], way.encode())
        for node, way in moved
    ]
