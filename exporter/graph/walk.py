"""Walking a graph with everything nested in it: branches and loop bodies, names, constant tensors."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from .domain import MAIN_DOMAINS


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs that a node holds in its attributes: branches of an If, the body of a Loop or Scan."""
    for item in node.attribute:
        if item.HasField("g"):
            yield item.g
        yield from item.graphs


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Every node of a graph and of the graphs nested in it, outer ones first."""
    for node in graph.node:
        yield node
        for inner in subgraphs(node):
            yield from all_nodes(inner)


def all_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and every graph nested in it."""
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from all_graphs(inner)


def captured(node: onnx.NodeProto) -> Iterator[str]:
    """Names that the node's subgraphs read, their own included: enough to keep hands off them."""
    for graph in subgraphs(node):
        for inner in all_nodes(graph):
            yield from inner.input
        for nested in all_graphs(graph):
            yield from (value.name for value in nested.output)


def value_names(graph: onnx.GraphProto) -> set[str]:
    """Every name that a value has in a graph or one nested in it."""
    names: set[str] = set()
    for inner in all_graphs(graph):
        names.update(value.name for value in [*inner.input, *inner.output])
        names.update(tensor.name for tensor in inner.initializer)
        names.update(sparse.values.name for sparse in inner.sparse_initializer)
        for node in inner.node:
            names.update(node.input)
            names.update(node.output)
    return names


def read_names(graph: onnx.GraphProto) -> set[str]:
    """Names of all values that a node, or the outside of a graph, reads."""
    read = {name for node in all_nodes(graph) for name in node.input}
    return read | {value.name for inner in all_graphs(graph) for value in inner.output}


def fresh(name: str, used: set[str]) -> str:
    """`name`, with underscores behind it until nothing else is called so; it then counts as used."""
    while name in used:
        name += "_"
    used.add(name)
    return name


def constant_tensor(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """The tensor of a Constant node that holds one, None for any other node."""
    if node.op_type == "Constant" and node.domain in MAIN_DOMAINS and len(node.attribute) == 1:
        return node.attribute[0].t if node.attribute[0].name == "value" else None
    return None


def attribute(node: onnx.NodeProto, name: str, default: object = None) -> object:
    """Value of a node's attribute, or the default where it is absent."""
    for item in node.attribute:
        if item.name == name:
            return onnx.helper.get_attribute_value(item)
    return default


def attributes(node: onnx.NodeProto) -> dict[str, object]:
    """All attributes of a node by name."""
    return {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}


def copied(node: onnx.NodeProto) -> onnx.NodeProto:
    """A node of its own: one that a graph holds dies with its place there."""
    twin = onnx.NodeProto()
    twin.CopyFrom(node)
    return twin


def replace_nodes(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    """Let the graph consist of these nodes, some of which may be its own."""
    kept = [copied(node) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
