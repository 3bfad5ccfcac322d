"""The choice of what runs packed, made again on the processor that loads the file.

An exported file says what its packed layers have to do, and what was measured of them (`WORK_KEY`,
`MEASURED_KEY` in the model's metadata). Where the cost model of this processor expects a layer to be slower
packed, its node moves to a domain of which the library registers nothing: onnxruntime then inlines the
node's function and folds its decode, as it does without the library.

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
#: Longer texts are not read.
_LONGEST = 1 << 24


@dataclass(frozen=True)
class _Node:
    """A node of ours: what it is, and where its domain's name lies."""

    name: str
    operator: str
    domain: wire.Field


def rewritten(model: Path | bytes, target: str) -> bytes | None:
    """The model with those of its packed layers expanded that are expected to lose; None where none does.

    Parameters
    ----------
    model
        A file or its bytes.
    target
        Instruction set of the kernels.
    """
    try:
        with _opened(model) as data:
            told = _metadata(data)
            works = told.get(WORK_KEY)
            if not works:
                return None
            measured = _dict(told.get(MEASURED_KEY)).get(target)
            losing = [node for node in _nodes(data) if _loses(node, works, _dict(measured), target)]
            return _expanded(data, losing) if losing else None
    except (OSError, ValueError, RecursionError):
        return None


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
    """The nodes of our domain in the main graph."""
    for graph in wire.inside(data, wire.whole(data), wire.MODEL_GRAPH):
        for node in wire.inside(data, graph, wire.GRAPH_NODES):
            parts = {inner.number: inner for inner in wire.fields(data, node.start, node.end)}
            if not {wire.NODE_NAME, wire.NODE_OPERATOR, wire.NODE_DOMAIN} <= set(parts):
                continue
            if wire.text(data, parts[wire.NODE_DOMAIN]) == DOMAIN:
                name, operator = (wire.text(data, parts[n]) for n in (wire.NODE_NAME, wire.NODE_OPERATOR))
                yield _Node(name, operator, parts[wire.NODE_DOMAIN])


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
