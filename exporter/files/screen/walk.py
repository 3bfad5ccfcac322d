"""The graphs and tensors of a model, those within others too."""

from __future__ import annotations

from collections.abc import Iterator

import onnx


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and all those in its nodes."""
    pending = [graph]
    while pending:
        found = pending.pop()
        yield found
        for node in found.node:
            pending += subgraphs(node)


def subgraphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The graphs in the attributes of a node."""
    return [
        graph
        for attribute in node.attribute
        for graph in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]
    ]


def tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of a graph and its subgraphs, its own initializers first."""
    for found in graphs(graph):
        yield from found.initializer
        for sparse in found.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        for node in found.node:
            yield from node_tensors(node)


def node_tensors(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    """The tensors in the attributes of a node."""
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for sparse in _sparse_of(attribute):
            yield from (sparse.values, sparse.indices)


def _sparse_of(attribute: onnx.AttributeProto) -> list[onnx.SparseTensorProto]:
    one = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
    return [*one, *attribute.sparse_tensors]


def sparse_tensors(graph: onnx.GraphProto) -> Iterator[onnx.SparseTensorProto]:
    for found in graphs(graph):
        yield from found.sparse_initializer
        for node in found.node:
            for attribute in node.attribute:
                yield from _sparse_of(attribute)
