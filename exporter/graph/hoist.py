"""Large constants of nested graphs moved to the main graph, where a plan finds them, and back again.

What one nested graph alone reads goes back into it, packed or not: onnxruntime folds a decode there too, and
chooses faster layouts only for weights that a graph holds itself. What several of them read is held once.
"""

from __future__ import annotations

import onnx

from .walk import all_graphs, all_nodes, constant_tensor, fresh, replace_nodes, subgraphs, value_names

#: Smaller ones stay where they are.
MIN_BYTES = 1024
#: In the doc_string of a constant that was moved.
MARK = "of a nested graph"


def hoist(model: onnx.ModelProto) -> set[str]:
    """Move them, under their names where nothing else has these; the names they have now.

    A constant that is a result of its graph stays, for a graph gives only what is made in it; so does one
    that is an input of its graph too.
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
        tensor.name, tensor.doc_string = renamed[name], MARK
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


def moved(graph: onnx.GraphProto) -> set[str]:
    """Names of the constants of a graph that stood in nested ones."""
    return {tensor.name for tensor in graph.initializer if tensor.doc_string == MARK}


def sink(graph: onnx.GraphProto, names: set[str]) -> None:
    """Move constants back, or the nodes that give them now, where one nested graph alone reads them."""
    inner = [nested for node in graph.node for held in subgraphs(node) for nested in all_graphs(held)]
    readers: dict[str, list[onnx.GraphProto]] = {}
    for nested in [graph, *inner]:
        for name in {entry for node in nested.node for entry in node.input} & names:
            readers.setdefault(name, []).append(nested)
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output if name in names}
    gone: set[str] = set()
    depth = {id(nested): place for place, nested in enumerate([graph, *inner])}
    # Inner graphs first: to put a node into a graph copies its nodes, and the graphs that these hold.
    for name, places in sorted(readers.items(), key=lambda item: -depth[id(item[1][0])]):
        if len(places) != 1 or places[0] is graph:
            continue
        parts = [name]
        if name in makers:
            nodes = [makers[name], *places[0].node]
            parts = list(makers[name].input)
            replace_nodes(places[0], nodes)
            gone.add(name)
        for part in parts:
            if part in tensors:
                places[0].initializer.append(tensors[part])
                gone.add(part)
    for place in reversed(range(len(graph.initializer))):
        if graph.initializer[place].name in gone:
            del graph.initializer[place]
    for place in reversed(range(len(graph.node))):
        if set(graph.node[place].output) & gone:
            del graph.node[place]
