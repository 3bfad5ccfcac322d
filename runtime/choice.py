"""The choice of what runs packed, made again on the processor that loads the file.

An exported file says what its packed layers have to do, and what was measured of them (`WORK_KEY`,
`MEASURED_KEY` in the model's metadata). Where the cost model of this processor expects a layer to be slower
packed, its node moves to a domain of which the library registers nothing: onnxruntime then inlines the
node's function and folds its decode, as it does without the library. The operators that are left are the
only ones that have to be registered.

NOTES
-----
What a file says is never trusted: it may only make layers run dense. A file that is no model, or says
something that is not understood, is left to onnxruntime as it is.
"""

from __future__ import annotations

import json
import mmap
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from . import cost, wire
from .cost import Work
from .expand import WEIGHT, Edit, Expand, expanded, without

DOMAIN = "sparse_export"
#: Of the same length, so that a node changes in place.
EXPANDED_DOMAIN = "sparse_expand"
#: JSON: the fields of `cost.Work` by node.
WORK_KEY = "sparse_export.work"
#: JSON: by instruction set and node the microseconds packed and dense.
MEASURED_KEY = "sparse_export.measured"
#: Operators of ONNX itself with graphs as attributes.
_WITH_BODIES = frozenset({"If", "Loop", "Scan", "SequenceMap"})
#: Longer texts are not read.
_LONGEST = 1 << 24


@dataclass(frozen=True)
class _Node:
    """A node of ours: what it is, where its domain's name and all of it lie, if in a body or a function."""

    name: str
    operator: str
    domain: wire.Field
    inner: bool
    place: wire.Field


@dataclass(frozen=True)
class Settled:
    """What is to be loaded of a model.

    Attributes
    ----------
    operators
        Names of the native operators that its nodes are; None where that cannot be told.
    model
        The model with those of its packed layers expanded that are expected to lose; None where none does.
    """

    operators: frozenset[str] | None = None
    model: bytes | None = None


#: Of what cannot be read.
UNKNOWN = Settled()


def settled(
    model: Path | bytes, target: str, *, choose: bool = True, expand: Expand | None = None
) -> Settled:
    """What of the model runs on the native operators.

    Parameters
    ----------
    model
        A file or its bytes.
    target
        Instruction set of the kernels.
    choose
        Whether packed layers are expanded that are expected to lose.
    expand
        What makes weights dense that no packed layer reads; by default their functions are left to do it.
    """
    try:
        with _opened(model) as data:
            uses: Counter[str] = Counter()
            nodes = list(_nodes(data, uses))
            outer = [node for node in nodes if not node.inner]
            losing = _losing(data, outer, target) if choose and outer else []
            edits, pieces = _dense(data, nodes, uses, expand) if expand else ([], [])
            edits += [Edit(*node.domain[1:], EXPANDED_DOMAIN.encode()) for node in losing]
            pieces += _copies(data, {node.operator for node in losing})
            gone = {node.domain for node in losing}
            kept = {node.operator for node in nodes if node.domain not in gone}
            operators = frozenset(name for name in kept if not is_weight(name))
            return Settled(operators, _edited(data, edits, pieces) if edits else None)
    except (OSError, ValueError, RecursionError):
        return UNKNOWN


def is_weight(operator: str) -> bool:
    """Whether it gives a weight and is never registered."""
    return WEIGHT in operator.removeprefix("BinaryWeight")


@contextmanager
def _opened(model: Path | bytes) -> Iterator[memoryview]:
    if isinstance(model, bytes):
        yield memoryview(model)
        return
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        view = memoryview(mapped)
        try:
            yield view
        finally:
            view.release()


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _metadata(data: memoryview) -> dict[str, dict[str, Any]]:
    """What the file says for this module."""
    found = {}
    for entry in wire.inside(data, wire.whole(data), wire.MODEL_METADATA):
        pair = {inner.number: inner for inner in wire.fields(data, entry.start, entry.end)}
        if wire.ENTRY_KEY in pair and wire.ENTRY_VALUE in pair:
            key, value = wire.text(data, pair[wire.ENTRY_KEY]), pair[wire.ENTRY_VALUE]
            if key in (WORK_KEY, MEASURED_KEY) and value.end - value.start <= _LONGEST:
                found[key] = _dict(json.loads(wire.text(data, value)))
    return found


def _nodes(data: memoryview, uses: Counter[str]) -> Iterator[_Node]:
    """The nodes of our domain: of the graph, of bodies of its nodes, and of functions other than ours.

    Every input of any node is counted in `uses`.

    Raises
    ------
    ValueError
        If there is no graph: it is something else.
    """
    graphs = list(wire.inside(data, wire.whole(data), wire.MODEL_GRAPH))
    if not graphs:
        raise ValueError("no graph")
    for graph in graphs:
        yield from _walk(data, graph, wire.GRAPH_NODES, uses, inner=False)
    for function in wire.inside(data, wire.whole(data), wire.MODEL_FUNCTIONS):
        if not any(
            wire.text(data, domain) == DOMAIN for domain in wire.inside(data, function, wire.FUNCTION_DOMAIN)
        ):
            yield from _walk(data, function, wire.FUNCTION_NODES, uses, inner=True)


def _walk(
    data: memoryview, holder: wire.Field, number: int, uses: Counter[str], *, inner: bool
) -> Iterator[_Node]:
    for place in wire.inside(data, holder, number):
        parts, attributes = {}, []
        for part in wire.fields(data, place.start, place.end):
            if part.number == wire.NODE_INPUTS:
                uses[wire.text(data, part)] += 1
            elif part.number == wire.NODE_ATTRIBUTES:
                attributes.append(part)
            else:
                parts[part.number] = part
        name, operator, domain = (
            wire.text(data, parts[n]) if n in parts else ""
            for n in (wire.NODE_NAME, wire.NODE_OPERATOR, wire.NODE_DOMAIN)
        )
        if domain == DOMAIN:
            yield _Node(name, operator, parts[wire.NODE_DOMAIN], inner, place)
        elif domain or operator in _WITH_BODIES:
            for attribute in attributes:
                for body in wire.fields(data, attribute.start, attribute.end):
                    if body.number in (wire.ATTRIBUTE_GRAPH, wire.ATTRIBUTE_GRAPHS):
                        yield from _walk(data, body, wire.GRAPH_NODES, uses, inner=True)


def _losing(data: memoryview, nodes: Sequence[_Node], target: str) -> list[_Node]:
    """Those that the file says enough of, and that are expected to lose."""
    told = _metadata(data)
    works = told.get(WORK_KEY)
    if not works:
        return []
    measured = _dict(_dict(told.get(MEASURED_KEY)).get(target))
    return [node for node in nodes if _loses(node, works, measured, target)]


def _loses(node: _Node, works: dict[str, Any], measured: dict[str, Any], target: str) -> bool:
    """Whether a layer was measured on such a processor, or is expected, to be slower packed."""
    seen = measured.get(node.name)
    if isinstance(seen, list) and _numbers(seen, 2):
        return bool(seen[0] > seen[1])
    work = works.get(node.name)
    if not isinstance(work, list) or len(work) != len(fields(Work)):
        return False
    if work[0] not in cost.kinds() or not _numbers(work[1:], len(work) - 1):
        return False
    return cost.estimate(Work(*work), cost.kernel_of(node.operator), target).loses


def _numbers(values: list[Any], count: int) -> bool:
    """Whether these are so many numbers, such as a time or a size can be."""
    return len(values) == count and all(
        isinstance(entry, int | float) and 0 <= entry < 1e18 for entry in values
    )


def _dense(
    data: memoryview, nodes: Sequence[_Node], uses: Counter[str], expand: Expand
) -> tuple[list[Edit], list[bytes]]:
    """What makes weights of the graph dense; nothing where the model is written in an unusual way."""
    weights = [node for node in nodes if is_weight(node.operator)]
    try:
        edits, pieces, done = expanded(data, [node.place for node in weights if not node.inner], uses, expand)
        called = {node.operator for node in nodes if node.place not in done}
        unused = {node.operator for node in weights} - called
        edits += [without(data, function) for function, name in _functions(data) if name in unused]
    except (ValueError, MemoryError):
        return [], []
    return edits, pieces


def _functions(data: memoryview) -> Iterator[tuple[wire.Field, str]]:
    """The functions of our domain, by name."""
    for function in wire.inside(data, wire.whole(data), wire.MODEL_FUNCTIONS):
        parts = {inner.number: inner for inner in wire.fields(data, function.start, function.end)}
        domain, name = parts.get(wire.FUNCTION_DOMAIN), parts.get(wire.FUNCTION_NAME)
        if domain and name and wire.text(data, domain) == DOMAIN:
            yield function, wire.text(data, name)


def _copies(data: memoryview, operators: Collection[str]) -> list[bytes]:
    """The functions of these operators in the other domain, and that domain's version."""
    if not operators:
        return []
    other, copies = EXPANDED_DOMAIN.encode(), []
    for function, name in _functions(data):
        if name in operators:
            (domain,) = wire.inside(data, function, wire.FUNCTION_DOMAIN)
            content = bytes(data[function.start : domain.start]) + other
            copies.append(
                wire.message(wire.MODEL_FUNCTIONS, content + bytes(data[domain.end : function.end]))
            )
    version = wire.message(wire.OPSET_DOMAIN, other) + wire.number(wire.OPSET_VERSION, 1)
    return [*copies, wire.message(wire.MODEL_OPSETS, version)]


def _edited(data: memoryview, edits: Sequence[Edit], pieces: Sequence[bytes]) -> bytes:
    """The model with these bytes changed, which leaves every length as it is, and pieces behind its end.

    A protobuf message may go on there: repeated fields that come again are added to, messages are merged.
    """
    parts: list[bytes | memoryview] = []
    place = 0
    for edit in sorted(edits, key=lambda edit: edit.start):
        parts += [data[place : edit.start], edit.content]
        place = edit.end
    parts.append(data[place:])
    try:
        return b"".join([*parts, *pieces])
    finally:
        for part in parts:
            if isinstance(part, memoryview):
                part.release()
