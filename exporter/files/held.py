"""Weights that lie beside their model: views of what was read, until they are written.

A TensorProto has its data as bytes of its own, and each look at them makes another copy; so does each copy of
the model. A held tensor is a TensorProto without data that refers to an array in this process, in the way of
external data: copies of the model stay small, and its weights are where the checkpoint or the file left them.

NOTES
-----
What refers to an array is a location that no file has (it holds a NUL, which every reader of paths refuses)
and a key with a random part, so no file can name one. Whoever reads a tensor's data asks this module; what is
given to onnx or onnxruntime whole is `serialized`.
"""

from __future__ import annotations

import secrets
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from ...errors import SparseExportError
from . import wire

Array = NDArray[Any]
Octets = NDArray[np.uint8]

#: Smaller tensors stay in their model.
LEAST_BYTES = 1 << 16

_LOCATION = "\0held"
_TOKEN = secrets.token_hex(8)
_owners: weakref.WeakValueDictionary[str, Tensors] = weakref.WeakValueDictionary()

#: Field numbers of onnx.proto.
_GRAPH, _INITIALIZER = 7, 5
_NAME, _RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 8, 9, 13, 14
#: Fields of a tensor beside its data: one with others has its values in another way.
_PLAIN = frozenset({1, 2, _NAME, 12, 16})


class Tensors:
    """Keeps the arrays that the tensors of a model refer to, for as long as it lives itself."""

    def __init__(self) -> None:
        self._id = f"{_TOKEN}.{secrets.token_hex(8)}"
        self._data: list[Octets] = []
        _owners[self._id] = self

    def hold(self, tensor: onnx.TensorProto, array: Array) -> None:
        """Let a tensor, whose shape and type are the array's, refer to it; whatever it held is gone."""
        tensor.ClearField("raw_data")
        del tensor.external_data[:]
        self._data.append(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=_LOCATION)
        tensor.external_data.add(key="key", value=f"{self._id} {len(self._data) - 1}")

    def parse(self, data: wire.Buffer) -> onnx.ModelProto:
        """The model in these bytes; the large initializers of its graph stay where they lie in them.

        Raises
        ------
        google.protobuf.message.DecodeError
            If there is none.
        """
        model = onnx.ModelProto()
        try:
            model.ParseFromString(b"".join(self._without(data)))
        except wire.Malformed:  # protobuf's own parser says what is wrong with it
            model.ParseFromString(bytes(data))
        return model

    def _without(self, data: wire.Buffer) -> Iterator[wire.Buffer]:
        """The pieces of the message without that data."""
        view = memoryview(data)
        for record in wire.records(view, 0, len(view)):
            if record.field == _GRAPH and record.kind == wire.LENGTH:
                pieces = list(self._graph(view, record))
                yield wire.head(_GRAPH, sum(map(len, pieces)))
                yield from pieces
            else:
                yield view[record.start : record.end]

    def _graph(self, view: memoryview, graph: wire.Record) -> Iterator[wire.Buffer]:
        for record in wire.records(view, graph.value, graph.end):
            if record.field == _INITIALIZER and record.end - record.value >= LEAST_BYTES:
                small = self._tensor(view, record)
                if small is not None:
                    yield wire.head(_INITIALIZER, len(small)) + small
                    continue
            yield view[record.start : record.end]

    def _tensor(self, view: memoryview, record: wire.Record) -> bytes | None:
        """An initializer that refers to its data; None where that does not lie there in one piece."""
        parts = list(wire.records(view, record.value, record.end))
        data = [part for part in parts if part.field == _RAW_DATA and part.kind == wire.LENGTH]
        others = [part for part in parts if part.field != _RAW_DATA]
        if len(data) != 1 or any(part.field not in _PLAIN for part in others):
            return None
        tensor = onnx.TensorProto.FromString(b"".join(view[part.start : part.end] for part in others))
        octets = np.frombuffer(view[data[0].value : data[0].end], np.uint8)
        if not can_hold(tensor.data_type) or octets.size < LEAST_BYTES:
            return None
        self.hold(tensor, octets)
        return bytes(tensor.SerializeToString())


def skeleton(path: Path) -> onnx.ModelProto:
    """The model in a file for its names, types and shapes: large tensors are as if they were elsewhere.

    Raises
    ------
    google.protobuf.message.DecodeError, OSError, ValueError
        If there is none.
    """
    return Tensors().parse(np.memmap(path, np.uint8, "r").data)


def can_hold(data_type: int) -> bool:
    """Whether the elements of a type are whole bytes, in memory as in a file."""
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(data_type)
    except (KeyError, ValueError):
        return False
    narrow = ("INT4", "UINT4", "FLOAT4E2M1", "INT2", "UINT2", "STRING")
    return dtype != np.object_ and onnx.TensorProto.DataType.Name(data_type) not in narrow


def is_held(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor refers to an array of this process."""
    return (
        tensor.data_location == onnx.TensorProto.EXTERNAL
        and len(tensor.external_data) == 2
        and tensor.external_data[0].value == _LOCATION
        and tensor.external_data[1].value.startswith(_TOKEN)
    )


def _octets(tensor: onnx.TensorProto) -> Octets:
    owner, place = tensor.external_data[1].value.split(" ")
    keeper = _owners.get(owner)
    if keeper is None:
        raise SparseExportError(f"'{tensor.name}' was asked for after its source was let go")
    return keeper._data[int(place)]


def array(tensor: onnx.TensorProto, *, aligned: bool = True) -> Array:
    """A tensor's values, of its shape and type; not to be written to.

    What is held is given as it lies there, except where its place in a file is none for its type: then it is
    a copy, unless `aligned` says that any place will do.
    """
    if not is_held(tensor):
        return numpy_helper.to_array(tensor)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    found = _octets(tensor).view(dtype).reshape(tuple(tensor.dims))
    if aligned and not found.flags.aligned:
        found = found.copy()
    found.flags.writeable = False
    return found


def raw(tensor: onnx.TensorProto) -> wire.Buffer:
    """The bytes of a tensor's data as a file has them: its `raw_data`."""
    return memoryview(_octets(tensor)) if is_held(tensor) else tensor.raw_data


def whole(tensor: onnx.TensorProto) -> onnx.TensorProto:
    """The tensor with its data in it."""
    if not is_held(tensor):
        return tensor
    twin = onnx.TensorProto()
    twin.CopyFrom(tensor)
    twin.raw_data = bytes(raw(tensor))
    twin.ClearField("data_location")
    del twin.external_data[:]
    return twin


def serialized(model: onnx.ModelProto) -> bytes:
    """What `model.SerializeToString()` says of the model with all data in it."""
    return b"".join(pieces(model))


def whole_model(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model with all data in it."""
    return onnx.ModelProto.FromString(serialized(model))


def pieces(model: onnx.ModelProto) -> Iterable[wire.Buffer]:
    """`serialized`, piece by piece: nothing that is held is copied.

    Raises
    ------
    google.protobuf.message.EncodeError, ValueError
        If what is not held is more than a protobuf can be.
    """
    held = {place: tensor for place, tensor in enumerate(model.graph.initializer) if is_held(tensor)}
    data = memoryview(model.SerializeToString())
    if not held:
        yield data
        return
    for record in wire.records(data, 0, len(data)):
        if record.field == _GRAPH:
            inner = list(_graph_pieces(data, record, held))
            yield wire.head(_GRAPH, sum(map(len, inner)))
            yield from inner
        else:
            yield data[record.start : record.end]


def _graph_pieces(
    data: memoryview, graph: wire.Record, held: dict[int, onnx.TensorProto]
) -> Iterator[wire.Buffer]:
    place = 0
    for record in wire.records(data, graph.value, graph.end):
        if record.field == _INITIALIZER:
            place += 1
            if place - 1 in held:
                yield from _tensor_pieces(data, record, held[place - 1])
                continue
        yield data[record.start : record.end]


def _tensor_pieces(data: memoryview, record: wire.Record, tensor: onnx.TensorProto) -> Iterator[wire.Buffer]:
    """An initializer with its data where the order of the fields has it."""
    before: list[wire.Buffer] = []
    after: list[wire.Buffer] = []
    for part in wire.records(data, record.value, record.end):
        if part.field not in (_EXTERNAL_DATA, _DATA_LOCATION):
            (before if part.field < _RAW_DATA else after).append(data[part.start : part.end])
    content = raw(tensor)
    inner = [*before, wire.head(_RAW_DATA, len(content)), content, *after]
    yield wire.head(_INITIALIZER, sum(map(len, inner)))
    yield from inner
