"""Models whose weights are held: parsed without a copy of them, and serialized piece by piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx

from . import held, wire

#: Field numbers of onnx.proto.
_GRAPH, _INITIALIZER = 7, 5
_NAME, _RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 8, 9, 13, 14
#: Fields of a tensor beside its data: one with others has its values in another way.
_PLAIN = frozenset({1, 2, _NAME, 12, 16})


def parse(data: wire.Buffer, tensors: held.Tensors) -> onnx.ModelProto:
    """The model in these bytes; the large initializers of its graph stay where they lie in them.

    Raises
    ------
    google.protobuf.message.DecodeError
        If there is none.
    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(b"".join(_without(data, tensors)))
    except wire.Malformed:  # protobuf's own parser says what is wrong with it
        model.ParseFromString(bytes(data))
    return model


def _without(data: wire.Buffer, tensors: held.Tensors) -> Iterator[wire.Buffer]:
    """The pieces of the message without that data."""
    view = memoryview(data)
    for record in wire.records(view, 0, len(view)):
        if record.field == _GRAPH and record.kind == wire.LENGTH:
            pieces = list(_graph(view, record, tensors))
            yield wire.head(_GRAPH, sum(map(len, pieces)))
            yield from pieces
        else:
            yield view[record.start : record.end]


def _graph(view: memoryview, graph: wire.Record, tensors: held.Tensors) -> Iterator[wire.Buffer]:
    for record in wire.records(view, graph.value, graph.end):
        if record.field == _INITIALIZER and record.end - record.value >= held.LEAST_BYTES:
            small = _tensor(view, record, tensors)
            if small is not None:
                yield wire.head(_INITIALIZER, len(small)) + small
                continue
        yield view[record.start : record.end]


def _tensor(view: memoryview, record: wire.Record, tensors: held.Tensors) -> bytes | None:
    """An initializer that refers to its data; None where that does not lie there in one piece."""
    parts = list(wire.records(view, record.value, record.end))
    data = [part for part in parts if part.field == _RAW_DATA and part.kind == wire.LENGTH]
    others = [part for part in parts if part.field != _RAW_DATA]
    if len(data) != 1 or any(part.field not in _PLAIN for part in others):
        return None
    tensor = onnx.TensorProto.FromString(b"".join(view[part.start : part.end] for part in others))
    octets = np.frombuffer(view[data[0].value : data[0].end], np.uint8)
    if not held.can_hold(tensor.data_type) or octets.size < held.LEAST_BYTES:
        return None
    tensors.hold(tensor, octets)
    return bytes(tensor.SerializeToString())


def skeleton(path: Path) -> onnx.ModelProto:
    """The model in a file for its names, types and shapes: large tensors are as if they were elsewhere.

    Raises
    ------
    google.protobuf.message.DecodeError, OSError, ValueError
        If there is none.
    """
    return parse(np.memmap(path, np.uint8, "r").data, held.Tensors())


def serialized(model: onnx.ModelProto) -> bytes:
    """What `model.SerializeToString()` says of the model with all data in it."""
    return b"".join(pieces(model))


def whole_model(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model with all data in it."""
    whole: onnx.ModelProto = onnx.ModelProto.FromString(serialized(model))
    return whole


def pieces(model: onnx.ModelProto) -> Iterable[wire.Buffer]:
    """`serialized`, piece by piece: nothing that is held is copied.

    Raises
    ------
    google.protobuf.message.EncodeError, ValueError
        If what is not held is more than a protobuf can be.
    """
    inside = {place: tensor for place, tensor in enumerate(model.graph.initializer) if held.is_held(tensor)}
    data = memoryview(model.SerializeToString())
    if not inside:
        yield data
        return
    for record in wire.records(data, 0, len(data)):
        if record.field == _GRAPH:
            inner = list(_graph_pieces(data, record, inside))
            yield wire.head(_GRAPH, sum(map(len, inner)))
            yield from inner
        else:
            yield data[record.start : record.end]


def _graph_pieces(
    data: memoryview, graph: wire.Record, inside: dict[int, onnx.TensorProto]
) -> Iterator[wire.Buffer]:
    place = 0
    for record in wire.records(data, graph.value, graph.end):
        if record.field == _INITIALIZER:
            place += 1
            if place - 1 in inside:
                yield from _tensor_pieces(data, record, inside[place - 1])
                continue
        yield data[record.start : record.end]


def _tensor_pieces(data: memoryview, record: wire.Record, tensor: onnx.TensorProto) -> Iterator[wire.Buffer]:
    """An initializer with its data where the order of the fields has it."""
    before: list[wire.Buffer] = []
    after: list[wire.Buffer] = []
    for part in wire.records(data, record.value, record.end):
        if part.field not in (_EXTERNAL_DATA, _DATA_LOCATION):
            (before if part.field < _RAW_DATA else after).append(data[part.start : part.end])
    content = held.raw(tensor)
    inner = [*before, wire.head(_RAW_DATA, len(content)), content, *after]
    yield wire.head(_INITIALIZER, sum(map(len, inner)))
    yield from inner
