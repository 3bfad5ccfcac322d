"""The choice of what runs packed, made again on the processor that loads the file.

An exported file says what its packed layers have to do, and what was measured of them (`WORK_KEY`,
`MEASURED_KEY` in the model's metadata). Where the cost model of this processor expects a layer to be slower
packed, its node moves to a domain of which the library registers nothing: onnxruntime then inlines the
node's function and folds its decode, as it does without the library. A layer of integers may go to a third
domain instead, where it is computed in floats (`as_floats`).

NOTES
-----
What a file says is never trusted: it may only make layers run dense. A file that is no model, or says
something that is not understood, is left to onnxruntime as it is.
"""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from . import as_floats, cost, wire
from .cost import Work

DOMAIN = "sparse_export"
#: Of the same length, so that a node changes in place.
EXPANDED_DOMAIN = "sparse_expand"
#: JSON: the fields of `cost.Work` by node.
WORK_KEY = "sparse_export.work"
#: JSON: the same of layers of integers, where they are computed in floats.
FLOAT_WORK_KEY = "sparse_export.float_work"
#: JSON: by instruction set and node the microseconds packed and dense; of integers, in floats too.
MEASURED_KEY = "sparse_export.measured"
#: Prefixes of operators whose kernel reads its format as it lies; rows of the others become csr's.
KERNELS = {"BinaryWeight": "bitpack"}
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
            floats = _dict(told.get(FLOAT_WORK_KEY))
            moved = [(node, _domain(node, works, floats, _dict(measured), target)) for node in _nodes(data)]
            return _edited(data, [(node, domain) for node, domain in moved if domain != DOMAIN])
    except (OSError, ValueError, RecursionError):
        return None


def computed_in_floats(model: bytes) -> bytes:
    """The model with every layer of integers computed in floats that can be."""
    with _opened(model) as data:
        nodes = [node for node in _nodes(data) if as_floats.split(node.operator)]
        return _edited(data, [(node, as_floats.DOMAIN) for node in nodes]) or model


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
            if key in (WORK_KEY, FLOAT_WORK_KEY, MEASURED_KEY) and value.end - value.start <= _LONGEST:
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


def _domain(
    node: _Node, works: dict[str, Any], floats: dict[str, Any], measured: dict[str, Any], target: str
) -> str:
    """Where a layer belongs that was measured on such a processor, or of which something is expected."""
    seen = measured.get(node.name)
    if isinstance(seen, list) and (
        _numbers(seen, 2) or (_numbers(seen, 3) and as_floats.split(node.operator))
    ):
        return _least(*seen)
    work = _work(works.get(node.name))
    if work is None:
        return DOMAIN
    kernel = next((name for prefix, name in KERNELS.items() if node.operator.startswith(prefix)), "csr")
    found = cost.estimate(work, kernel, target)
    other = _work(floats.get(node.name)) if as_floats.split(node.operator) else None
    return _least(found.packed, found.dense, cost.as_floats(other, target) if other else math.inf)


def _least(packed: float, dense: float, floats: float = math.inf) -> str:
    """The domain of the way that takes the least; packed, where two take the same."""
    return min(
        (packed, DOMAIN), (floats, as_floats.DOMAIN), (dense, EXPANDED_DOMAIN), key=lambda way: way[0]
    )[1]


def _work(told: object) -> Work | None:
    """What a file says of a layer, None where it is not understood."""
    if not isinstance(told, list) or len(told) != len(fields(Work)):
        return None
    if told[0] not in (*cost.KINDS, cost.DEPTHWISE, cost.INTEGERS) or not _numbers(told[1:], len(told) - 1):
        return None
    return Work(*told)


def _numbers(values: list[Any], count: int) -> bool:
    """Whether these are so many numbers, such as a time or a size can be."""
    return len(values) == count and all(
        isinstance(entry, int | float) and 0 <= entry < 1e18 for entry in values
    )


def _edited(data: memoryview, moved: Sequence[tuple[_Node, str]]) -> bytes | None:
    """The model with these nodes in their domains, and the functions that they have there.

    A protobuf message may go on behind its end: repeated fields that come again are added to.
    """
    functions = _functions(data, {(node.operator, domain) for node, domain in moved})
    moved = [(node, domain) for node, domain in moved if (node.operator, domain) in functions]
    if not moved:
        return None
    pieces: list[bytes | memoryview] = []
    place = 0
    for node, domain in sorted(moved, key=lambda pair: pair[0].domain.start):
        pieces += [data[place : node.domain.start], domain.encode()]
        place = node.domain.end
    pieces.append(data[place:])
    pieces += [wire.message(wire.MODEL_FUNCTIONS, content) for content in functions.values()]
    for domain in sorted({domain for _, domain in moved}):
        version = wire.message(wire.OPSET_DOMAIN, domain.encode()) + wire.number(wire.OPSET_VERSION, 1)
        pieces.append(wire.message(wire.MODEL_OPSETS, version))
    try:
        return b"".join(pieces)
    finally:
        for piece in pieces:
            if isinstance(piece, memoryview):
                piece.release()


def _functions(data: memoryview, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
    """By operator and domain the function that it has there, made of the one in the file."""
    found = {}
    for function in wire.inside(data, wire.whole(data), wire.MODEL_FUNCTIONS):
        parts = {inner.number: inner for inner in wire.fields(data, function.start, function.end)}
        domain, name = parts.get(wire.FUNCTION_DOMAIN), parts.get(wire.FUNCTION_NAME)
        if not domain or not name or wire.text(data, domain) != DOMAIN:
            continue
        operator = wire.text(data, name)
        if (operator, EXPANDED_DOMAIN) in wanted:
            before, behind = (
                bytes(data[function.start : domain.start]),
                bytes(data[domain.end : function.end]),
            )
            found[operator, EXPANDED_DOMAIN] = before + EXPANDED_DOMAIN.encode() + behind
        if (operator, as_floats.DOMAIN) in wanted and (made := as_floats.function(data, function)):
            found[operator, as_floats.DOMAIN] = made
    return found
