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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from . import cost, wire
from .cost import Work

DOMAIN = "sparse_export"
#: Of the same length, so that a node changes in place.
EXPANDED_DOMAIN = "sparse_expand"
#: JSON: the fields of `cost.Work` by node.
WORK_KEY = "sparse_export.work"
#: JSON: by instruction set and node the microseconds packed and dense.
MEASURED_KEY = "sparse_export.measured"
#: Prefixes of operators whose kernel reads its format as it lies; rows of the others become csr's.
KERNELS = {"BinaryWeight": "bitpack"}
#: Operators of ONNX itself with graphs as attributes.
_WITH_BODIES = frozenset({"If", "Loop", "Scan", "SequenceMap"})
#: Longer texts are not read.
_LONGEST = 1 << 24


@dataclass(frozen=True)
class _Node:
    """A node of ours: what it is, where its domain's name lies, and whether within a body or a function."""

    name: str
    operator: str
    domain: wire.Field
    inner: bool


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


def settled(model: Path | bytes, target: str, *, choose: bool = True) -> Settled:
    """What of the model runs on the native operators.

    Parameters
    ----------
    model
        A file or its bytes.
    target
        Instruction set of the kernels.
    choose
        Whether packed layers are expanded that are expected to lose.
    """
    try:
        with _opened(model) as data:
            nodes = list(_nodes(data))
            outer = [node for node in nodes if not node.inner]
            losing = _losing(data, outer, target) if choose and outer else []
            gone = {node.domain for node in losing}
            kept = frozenset(node.operator for node in nodes if node.domain not in gone)
            return Settled(kept, _expanded(data, losing) if losing else None)
    except (OSError, ValueError, RecursionError):
        return UNKNOWN


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


def _nodes(data: memoryview) -> Iterator[_Node]:
    """The nodes of our domain: of the graph, of bodies of its nodes, and of functions other than ours.

    Raises
    ------
    ValueError
        If there is no graph: it is something else.
    """
    graphs = list(wire.inside(data, wire.whole(data), wire.MODEL_GRAPH))
    if not graphs:
        raise ValueError("no graph")
    for graph in graphs:
        yield from _walk(data, graph, wire.GRAPH_NODES, inner=False)
    for function in wire.inside(data, wire.whole(data), wire.MODEL_FUNCTIONS):
        if not any(
            wire.text(data, domain) == DOMAIN for domain in wire.inside(data, function, wire.FUNCTION_DOMAIN)
        ):
            yield from _walk(data, function, wire.FUNCTION_NODES, inner=True)


def _walk(data: memoryview, holder: wire.Field, number: int, *, inner: bool) -> Iterator[_Node]:
    for place in wire.inside(data, holder, number):
        parts, attributes = {}, []
        for part in wire.fields(data, place.start, place.end):
            if part.number == wire.NODE_ATTRIBUTES:
                attributes.append(part)
            else:
                parts[part.number] = part
        name, operator, domain = (
            wire.text(data, parts[n]) if n in parts else ""
            for n in (wire.NODE_NAME, wire.NODE_OPERATOR, wire.NODE_DOMAIN)
        )
        if domain == DOMAIN:
            yield _Node(name, operator, parts[wire.NODE_DOMAIN], inner)
        elif domain or operator in _WITH_BODIES:
            for attribute in attributes:
                for body in wire.fields(data, attribute.start, attribute.end):
                    if body.number in (wire.ATTRIBUTE_GRAPH, wire.ATTRIBUTE_GRAPHS):
                        yield from _walk(data, body, wire.GRAPH_NODES, inner=True)


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
    if work[0] not in (*cost.KINDS, cost.DEPTHWISE, cost.INTEGERS) or not _numbers(work[1:], len(work) - 1):
        return False
    kernel = next((name for prefix, name in KERNELS.items() if node.operator.startswith(prefix)), "csr")
    return cost.estimate(Work(*work), kernel, target).loses


def _numbers(values: list[Any], count: int) -> bool:
    """Whether these are so many numbers, such as a time or a size can be."""
    return len(values) == count and all(
        isinstance(entry, int | float) and 0 <= entry < 1e18 for entry in values
    )


def _expanded(data: memoryview, nodes: Sequence[_Node]) -> bytes:
    """The model, these nodes and copies of their functions in the other domain.

    A protobuf message may go on behind its end: repeated fields that come again are added to.
    """
    other, operators = EXPANDED_DOMAIN.encode(), {node.operator for node in nodes}
    pieces: list[bytes | memoryview] = []
    place = 0
    for node in sorted(nodes, key=lambda node: node.domain.start):
        pieces += [data[place : node.domain.start], other]
        place = node.domain.end
    pieces.append(data[place:])
    for function in wire.inside(data, wire.whole(data), wire.MODEL_FUNCTIONS):
        parts = {inner.number: inner for inner in wire.fields(data, function.start, function.end)}
        domain, name = parts.get(wire.FUNCTION_DOMAIN), parts.get(wire.FUNCTION_NAME)
        if domain and name and wire.text(data, name) in operators and wire.text(data, domain) == DOMAIN:
            content = bytes(data[function.start : domain.start]) + other
            pieces.append(
                wire.message(wire.MODEL_FUNCTIONS, content + bytes(data[domain.end : function.end]))
            )
    version = wire.message(wire.OPSET_DOMAIN, other) + wire.number(wire.OPSET_VERSION, 1)
    pieces.append(wire.message(wire.MODEL_OPSETS, version))
    try:
        return b"".join(pieces)
    finally:
        for piece in pieces:
            if isinstance(piece, memoryview):
                piece.release()
