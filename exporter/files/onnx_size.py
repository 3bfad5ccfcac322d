"""How many bytes a model takes: a file with its data files, and what a model would take as a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx

from . import held, proto_size, streamed
from .onnx_write import MAX_INLINE_TOTAL, data_bytes


def file_bytes(path: Path) -> int:
    """Bytes of an .onnx file and of every data file that it names, each once."""
    names: set[str] = set()
    for tensor in _tensors(streamed.skeleton(path).graph):
        if not held.is_held(tensor):
            names.update(entry.value for entry in tensor.external_data if entry.key == "location")
    data = (path.parent / name for name in names)
    size: int = path.stat().st_size + sum(file.stat().st_size for file in data if file.is_file())
    return size


def model_bytes(model: onnx.ModelProto) -> int:
    """Bytes of the file that `onnx_write.save` makes of a model."""
    data = data_bytes(model)
    return data if data > MAX_INLINE_TOTAL else proto_size.model_bytes(model)


def tensors(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    """The tensors that a dense file has to hold: what something reads, in nested graphs too."""
    read = _all_read(model.graph)
    mine = [tensor for tensor in model.graph.initializer if tensor.name in read]
    return mine + list(_nested(model.graph))


def dense_bytes(model: onnx.ModelProto) -> int:
    """Bytes of a dense file of the model, without what nothing reads."""
    read = _all_read(model.graph)
    unread = (tensor for tensor in model.graph.initializer if tensor.name not in read)
    return model_bytes(model) - sum(map(proto_size.tensor_bytes, unread))


def _all_read(graph: onnx.GraphProto) -> set[str]:
    """Names that nodes read or that are outputs."""
    return {value.name for value in graph.output} | set(_reads(graph))


def _reads(graph: onnx.GraphProto) -> Iterator[str]:
    """Names that nodes read, in the graph and in those nested in it."""
    for node in graph.node:
        yield from node.input
        for item in node.attribute:
            for inner in [*item.graphs, *([item.g] if item.HasField("g") else [])]:
                yield from _reads(inner)
                yield from (value.name for value in inner.output)


def _nested(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """The tensors that the attributes of nodes hold."""
    for node in graph.node:
        for item in node.attribute:
            if item.HasField("t"):
                yield item.t
            for inner in [*item.graphs, *([item.g] if item.HasField("g") else [])]:
                yield from _tensors(inner)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _nested(graph)
