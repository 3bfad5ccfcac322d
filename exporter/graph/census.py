"""Every large constant of a model and what reads it: what a plan must account for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import onnx

from ..files import proto_size
from .domain import DOMAIN, MAIN_DOMAINS
from .index import GraphIndex
from .qdq import dequantizes, quantizes
from .walk import all_nodes, captured, constant_tensor, subgraphs

#: Smaller constants are not worth a line.
MIN_BYTES = 1024


@dataclass(frozen=True)
class Constant:
    """A tensor of the model that no layer in a plan reads, and why it stays as it is."""

    name: str
    tensor: onnx.TensorProto
    readers: tuple[str, ...]
    reason: str
    #: Whether a node of the main graph may give it instead.
    movable: bool = True


def others(index: GraphIndex, covered: Iterable[str]) -> Iterator[Constant]:
    """The constants of at least `MIN_BYTES`, those of subgraphs too, that are not `covered` already."""
    known = set(covered)
    ours = {name for node in all_nodes(index.graph) if node.domain == DOMAIN for name in node.input}
    for name, tensor in index.initializers.items():
        if name not in known and _large(tensor) and not _of_integers(index, name):
            readers = tuple(dict.fromkeys(node.op_type for node in index.readers[name]))
            movable = name not in index.overridable | ours and bool(readers or name in index.pinned)
            why = "a component of a packed weight" if name in ours else _reason(index, name, readers)
            yield Constant(name, tensor, readers, why, movable)
    for node in index.nodes:
        yield from _nested(node, "")


def _of_integers(index: GraphIndex, name: str) -> bool:
    """Whether a vector is nothing but scales or zero points of integers."""
    places = [
        place for node in index.readers[name] for place, entry in enumerate(node.input) if entry == name
    ]
    rounds = all(quantizes(node) or dequantizes(node) for node in index.readers[name])
    return bool(places) and rounds and min(places) > 0 and name not in index.pinned


def _reason(index: GraphIndex, name: str, readers: tuple[str, ...]) -> str:
    if name in index.overridable:
        return "a graph input too: a caller may give another, which a packed weight would not see"
    if not readers:
        around = dict.fromkeys(node.op_type for node in index.nodes if name in captured(node))
        where = f"read inside {', '.join(around)}: packed operators stand outside" if around else "an output"
        return where if name in index.pinned else "read by nothing"
    what = f"read by {', '.join(readers[:3])}" + (" and others" if len(readers) > 3 else "")
    left = [node for node in index.readers[name] if node.op_type == "MatMul" and node.input[0] == name]
    if left:
        what += " as its left side"
    return f"{what}: no packed operator takes it there"


def _nested(node: onnx.NodeProto, path: str) -> Iterator[Constant]:
    """The constants that the subgraphs of a node hold."""
    where = f"{path}in a subgraph of {node.op_type}" + (f" '{node.name}'" if node.name else "")
    for graph in subgraphs(node):
        readers: dict[str, list[str]] = {}
        for inner in graph.node:
            for entry in inner.input:
                readers.setdefault(entry, []).append(inner.op_type)
        held = [(tensor.name, tensor) for tensor in graph.initializer]
        held += [
            (inner.output[0], tensor)
            for inner in graph.node
            if inner.domain in MAIN_DOMAINS and (tensor := constant_tensor(inner)) is not None
        ]
        for name, tensor in held:
            if _large(tensor):
                names = tuple(dict.fromkeys(readers.get(name, [])))
                read = f", read by {', '.join(names)}" if names else ""
                yield Constant(name, tensor, names, f"{where}{read}: it is a result there", movable=False)
        for inner in graph.node:
            yield from _nested(inner, f"{where}, ")


def _large(tensor: onnx.TensorProto) -> bool:
    return proto_size.tensor_bytes(tensor) >= MIN_BYTES
