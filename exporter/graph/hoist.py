"""Large constants of nested graphs moved to the main graph, where they can be packed.

A branch of an If or the body of a Loop may read what stands outside, and onnxruntime folds nothing that nodes
with nested graphs hold: outside, a decode is folded once.
"""

from __future__ import annotations

import onnx

from .walk import all_graphs, all_nodes, constant_tensor, fresh, replace_nodes, subgraphs, value_names

#: Smaller ones stay where they are.
MIN_BYTES = 1024


def hoist(model: onnx.ModelProto) -> set[str]:
    """Move them, under their names where nothing else has these; the names that they have now.

    A constant that is a result of its graph stays, for a graph gives only what is made in it; so does one that
    is an input of its graph too.
    """
    used = value_names(model.graph)
    taken = _names_of(model.graph)
    moved: set[str] = set()
    for node in model.graph.node:
        for graph in subgraphs(node):
            for inner in all_graphs(graph):
                _move(inner, model.graph, used, taken, moved)
    return moved


def _names_of(graph: onnx.GraphProto) -> set[str]:
    """Names of values in the graph itself, nested ones apart."""
    names = {value.name for value in [*graph.input, *graph.output]}
    names.update(tensor.name for tensor in graph.initializer)
    for node in graph.node:
        names.update(node.output)
    return names


def _move(
    inner: onnx.GraphProto, main: onnx.GraphProto, used: set[str], taken: set[str], moved: set[str]
) -> None:
    """Move what one nested graph holds."""
    stay = {value.name for value in inner.input}
    for nested in all_graphs(inner):
        stay.update(value.name for value in nested.output)
    renamed: dict[str, str] = {}

    def move(tensor: onnx.TensorProto, name: str) -> None:
        renamed[name] = fresh(name, used) if name in taken else name
        taken.add(renamed[name])
        moved.add(renamed[name])
        tensor.name = renamed[name]
        main.initializer.append(tensor)

    for place in reversed(range(len(inner.initializer))):
        tensor = inner.initializer[place]
        if tensor.ByteSize() >= MIN_BYTES and tensor.name not in stay:
            move(tensor, tensor.name)
            del inner.initializer[place]
    kept = []
    for node in inner.node:
        held = constant_tensor(node)
        if held is not None and held.ByteSize() >= MIN_BYTES and node.output[0] not in stay:
            move(held, node.output[0])
        else:
            kept.append(node)
    if len(kept) < len(inner.node):
        replace_nodes(inner, kept)
    for node in all_nodes(inner):
        for place, name in enumerate(node.input):
            if name in renamed:
                node.input[place] = renamed[name]
