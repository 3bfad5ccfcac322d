"""The choice of what runs packed, made again on the processor that loads the file.

An exported file says what its packed layers have to do, and what was measured of them (`WORK_KEY`,
`MEASURED_KEY` in the model's metadata). Where the cost model of this processor expects a layer to be slower
packed, its node moves to a domain of which the library registers nothing: onnxruntime then inlines the
node's function and folds its decode, as it does without the library. A layer of integers may become another
operator instead, which computes it in floats (`as_floats`). The operators that are left are the only ones
that have to be registered.

NOTES
-----
What a file says is never trusted: it may only make layers run dense. A file that is no model, or says
something that is not understood, is left to onnxruntime as it is.
"""

from __future__ import annotations

import json
import math
import mmap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from . import activations, as_floats, cost, mapped, stems, wire
from .cost import Work
from .domains import DOMAIN, EXPANDED_DOMAIN, Node, functions, moved_to, renamed
from .expand import Expand, expanded, is_weight
from .pools import OPERATOR, replaced
from .splice import Edit, edited, fitted, removed

#: JSON: the fields of `cost.Work` by node.
WORK_KEY = "sparse_export.work"
#: JSON: the same of layers of integers, where they are computed in floats.
FLOAT_WORK_KEY = "sparse_export.float_work"
#: JSON: by instruction set and node the microseconds packed and dense; of integers, in floats too.
MEASURED_KEY = "sparse_export.measured"
#: Operators of ONNX itself with graphs as attributes.
_WITH_BODIES = frozenset({"If", "Loop", "Scan", "SequenceMap"})
#: Longer texts are not read.
_LONGEST = 1 << 24


@dataclass(frozen=True)
class Settled:
    """What is to be loaded of a model.

    Attributes
    ----------
    operators
        Names of the native operators that its nodes are; None where that cannot be told.
    model
        The model with those of its packed layers expanded that are expected to lose; None where none does.
    small
        Whether its activations are known to be small.
    """

    operators: frozenset[str] | None = None
    model: bytes | None = None
    small: bool = False


#: Of what cannot be read.
UNKNOWN = Settled()


def settled(
    model: Path | bytes,
    target: str,
    *,
    choose: bool = True,
    expand: Expand | None = None,
    mapping: bool = False,
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
    mapping
        Whether what kernels read once stays in the file (`mapped`): what is given is then no model by itself,
        and has to be loaded as one of the file's folder.
    """
    try:
        with _opened(model) as data:
            uses: Counter[str] = Counter()
            nodes = list(_nodes(data, uses))
            outer = [node for node in nodes if not node.inner and not is_weight(node.operator)]
            told = _metadata(data)
            moved, added = moved_to(data, _domains(told, outer, target) if choose and outer else [])
            edits, holders = _dense(data, nodes, uses, expand) if expand else ([], set())
            dense = {node.place for node, way in moved if way == EXPANDED_DOMAIN}
            floats = {node.place for node, way in moved if way == as_floats.IN_FLOATS}
            kept = {node.operator for node in nodes if node.place not in dense | floats}
            registered = kept | {as_floats.inner(node.operator) for node in nodes if node.place in floats}
            edits += renamed(moved)
            layers = _integers(node for node in outer if node.place not in dense)
            first = _stems(data, uses) if layers and target in stems.TARGETS else stems.Replaced()
            pools = _pools(data, layers | first.layers, uses) if layers else []
            edits += first.edits + pools
            if mapping and isinstance(model, Path):
                packed = [(node, node.place in floats) for node in outer if node.place not in dense]
                edits += mapped.edits(data, packed, uses, edits, model.name)
            operators = frozenset(name for name in registered if not is_weight(name))
            if edits:  # it is not the file any more: without what is registered, then, it is smaller
                unused = {name for name in kept if not is_weight(name)}
                unused |= {node.operator for node in nodes if node.place in floats}
                edits += [removed(data, function) for function, name in functions(data) if name in unused]
            operators |= ({OPERATOR} if pools else set()) | ({stems.OPERATOR} if first.layers else set())
            holders.update(wire.graphs(data))
            works = map(_work, _dict(told.get(WORK_KEY)).values())
            others = any(is_weight(node.operator) for node in nodes) or bool(moved)
            small = activations.are_small(data, [work for work in works if work], others=others)
            made = edited(data, fitted(data, edits, holders), added) if edits else None
            return Settled(operators, made, small)
    except (OSError, ValueError, RecursionError):
        return UNKNOWN


def computed_in_floats(model: bytes) -> bytes:
    """The model with every layer of integers computed in floats that can be."""
    with _opened(model) as data:
        nodes = [
            node for node in _nodes(data, Counter()) if not node.inner and as_floats.split(node.operator)
        ]
        return edited(data, renamed([(node, as_floats.IN_FLOATS) for node in nodes]), []) if nodes else model


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


def _nodes(data: memoryview, uses: Counter[str]) -> Iterator[Node]:
    """The nodes of our domain: of the graph, of bodies of its nodes, and of functions other than ours.

    Every input of any node is counted in `uses`.

    Raises
    ------
    ValueError
        If there is no graph: it is something else.
    """
    graphs = wire.graphs(data)
    if not graphs:
        raise ValueError("no graph")
    for graph in graphs:
        yield from _walk(data, (graph,), wire.GRAPH_NODES, uses)
    for function in wire.inside(data, wire.whole(data), wire.MODEL_FUNCTIONS):
        if not any(
            wire.text(data, domain) == DOMAIN for domain in wire.inside(data, function, wire.FUNCTION_DOMAIN)
        ):
            yield from _walk(data, (function,), wire.FUNCTION_NODES, uses)


def _walk(
    data: memoryview, within: tuple[wire.Field, ...], number: int, uses: Counter[str]
) -> Iterator[Node]:
    for place in wire.inside(data, within[-1], number):
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
            called = parts.get(wire.NODE_OPERATOR, parts[wire.NODE_DOMAIN])
            yield Node(name, operator, parts[wire.NODE_DOMAIN], called, place, within)
        elif domain or operator in _WITH_BODIES:
            for attribute in attributes:
                for body in wire.fields(data, attribute.start, attribute.end):
                    if body.number in (wire.ATTRIBUTE_GRAPH, wire.ATTRIBUTE_GRAPHS):
                        around = (*within, place, attribute, body)
                        yield from _walk(data, around, wire.GRAPH_NODES, uses)


def _domains(told: dict[str, dict[str, Any]], nodes: Sequence[Node], target: str) -> list[tuple[Node, str]]:
    """Those that the file says enough of and that belong elsewhere than they are, and where."""
    works, floats = _dict(told.get(WORK_KEY)), _dict(told.get(FLOAT_WORK_KEY))
    measured = _dict(_dict(told.get(MEASURED_KEY)).get(target))
    found = [(node, _domain(node, works, floats, measured, target)) for node in nodes] if works else []
    return [(node, domain) for node, domain in found if domain != DOMAIN]


def _domain(
    node: Node, works: dict[str, Any], floats: dict[str, Any], measured: dict[str, Any], target: str
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
    found = cost.estimate(work, cost.kernel_of(node.operator), target)
    other = _work(floats.get(node.name)) if as_floats.split(node.operator) else None
    in_floats = cost.as_floats(other, target) if other else math.inf
    return _least(found.packed * found.caution, found.dense, in_floats)


def _least(packed: float, dense: float, floats: float = math.inf) -> str:
    """The domain of the way that takes the least; packed, where two take the same."""
    return min(
        (packed, DOMAIN), (floats, as_floats.IN_FLOATS), (dense, EXPANDED_DOMAIN), key=lambda way: way[0]
    )[1]


def _work(told: object) -> Work | None:
    """What a file says of a layer, None where it is not understood."""
    if not isinstance(told, list) or len(told) != len(fields(Work)):
        return None
    if told[0] not in cost.kinds() or not _numbers(told[1:], len(told) - 1):
        return None
    return Work(*told)


def _numbers(values: list[Any], count: int) -> bool:
    """Whether these are so many numbers, such as a time or a size can be."""
    return len(values) == count and all(
        isinstance(entry, int | float) and 0 <= entry < 1e18 for entry in values
    )


def _dense(
    data: memoryview, nodes: Sequence[Node], uses: Counter[str], expand: Expand
) -> tuple[list[Edit], set[wire.Field]]:
    """What makes weights dense, and what holds them; nothing where the model is written in an unusual way."""
    weights = [node for node in nodes if is_weight(node.operator)]
    try:
        edits, holders, done = expanded(data, weights, uses, expand)
        called = {node.operator for node in nodes if node.place not in done}
        unused = {node.operator for node in weights} - called
        edits += [removed(data, function) for function, name in functions(data) if name in unused]
    except (ValueError, MemoryError):
        return [], set()
    return edits, holders


def _integers(nodes: Iterable[Node]) -> set[wire.Field]:
    """Where layers of integers are that give bytes."""
    return {node.place for node in nodes if (known := as_floats.split(node.operator)) and known[2] != "Float"}


def _pools(data: memoryview, layers: set[wire.Field], uses: Counter[str]) -> list[Edit]:
    """What puts the pools behind these on the library; nothing where the model is unusually written."""
    try:
        return replaced(data, layers, uses)
    except ValueError:
        return []


def _stems(data: memoryview, uses: Counter[str]) -> stems.Replaced:
    """What puts first convolutions on the library; nothing where the model is unusually written."""
    try:
        return stems.replaced(data, uses)
    except ValueError:
        return stems.Replaced()
