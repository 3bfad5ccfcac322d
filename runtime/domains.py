"""Nodes of a model moved to other domains, with the functions that they have there.

Domains are equally long: a node changes in place, and only the graph around it may change its length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from . import as_floats, wire
from .expand import Edit

#: The library's operators.
DOMAIN = "sparse_export"
#: Nothing is registered there: onnxruntime inlines the function and folds its decode.
EXPANDED_DOMAIN = "sparse_expand"


@dataclass(frozen=True)
class Node:
    """A node of ours: what it is, where its domain's name and all of it lie, if in a body or a function."""

    name: str
    operator: str
    domain: wire.Field
    inner: bool
    place: wire.Field


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
    """Those of the nodes whose functions can be had in their domains, and what is to be added for them."""
    names = {(node.operator, domain) for node, domain in wanted}
    made = {}
    for function, name in functions(data) if names else ():
        if (name, EXPANDED_DOMAIN) in names:
            made[name, EXPANDED_DOMAIN] = _copy(data, function)
        if (name, as_floats.DOMAIN) in names and (content := as_floats.function(data, function)):
            made[name, as_floats.DOMAIN] = content
    moved = [(node, domain) for node, domain in wanted if (node.operator, domain) in made]
    pieces = [wire.message(wire.MODEL_FUNCTIONS, content) for content in made.values()]
    for domain in sorted({domain for _, domain in moved}):
        version = wire.message(wire.OPSET_DOMAIN, domain.encode()) + wire.number(wire.OPSET_VERSION, 1)
        pieces.append(wire.message(wire.MODEL_OPSETS, version))
    return moved, pieces


def _copy(data: memoryview, function: wire.Field) -> bytes:
    """A function in the domain of what is expanded."""
    (domain,) = wire.inside(data, function, wire.FUNCTION_DOMAIN)
    before, behind = data[function.start : domain.start], data[domain.end : function.end]
    return bytes(before) + EXPANDED_DOMAIN.encode() + bytes(behind)


def renamed(moved: Sequence[tuple[Node, str]]) -> list[Edit]:
    """The edits that give nodes their domains."""
    return [Edit(*node.domain[1:], domain.encode()) for node, domain in moved]


def edited(data: memoryview, edits: Sequence[Edit], pieces: Sequence[bytes]) -> bytes:
    """The model with these bytes changed, and pieces behind its end.

    A protobuf message may go on there: repeated fields that come again are added to, messages are merged.

    Parameters
    ----------
    edits
        Where they change a length they lie in a graph, not deeper, or take a field of the model out.

    Raises
    ------
    ValueError
        If the bytes are no model, or the key of a graph is not written as everybody writes it.
    """
    parts: list[bytes | memoryview] = []
    place = 0
    for edit in sorted([*edits, *_longer(data, edits)], key=lambda edit: edit.start):
        parts += [data[place : edit.start], edit.content]
        place = edit.end
    parts.append(data[place:])
    try:
        return b"".join([*parts, *pieces])
    finally:
        for part in parts:
            if isinstance(part, memoryview):
                part.release()


def _longer(data: memoryview, edits: Sequence[Edit]) -> Iterator[Edit]:
    """The edits of the graphs' lengths that follow from those in them."""
    for graph in wire.inside(data, wire.whole(data), wire.MODEL_GRAPH):
        inner = [edit for edit in edits if graph.start <= edit.start and edit.end <= graph.end]
        growth = sum(len(edit.content) - (edit.end - edit.start) for edit in inner)
        if growth:
            head = wire.head(wire.MODEL_GRAPH, graph.end - graph.start + growth)
            yield Edit(wire.begin(data, graph), graph.start, head)
