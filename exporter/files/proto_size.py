"""Exact bytes of protobuf messages with large tensors, without writing them.

A message's `ByteSize` serializes it, in the implementation that Python's protobuf has today: half a gigabyte
of weights would be copied to be counted. Here a tensor's data is counted by its shape, and what surrounds it
by a message without it (encoding: protobuf.dev, "Encoding", length-delimited records).
"""

from __future__ import annotations

import math
from typing import Any

import onnx

from . import held
from .screen.sizes import nbytes

#: Below this a tensor may as well be serialized.
_SMALL = 1 << 16
#: Every length-delimited field used here has a number below 16: its tag is one byte.
_TAG = 1


def tensor_bytes(tensor: onnx.TensorProto) -> int:
    """What `tensor.ByteSize()` says with its data in it."""
    raw = raw_bytes(tensor)
    if raw < _SMALL and not held.is_held(tensor):
        return int(tensor.ByteSize())
    left_out = ("raw_data", "external_data", "data_location") if held.is_held(tensor) else ("raw_data",)
    return _around(tensor, onnx.TensorProto(), *left_out) + _record(raw)


def raw_bytes(tensor: onnx.TensorProto) -> int:
    """Bytes of a tensor's `raw_data`, held or in it, by its shape; 0 where it has none."""
    if not tensor.HasField("raw_data") and not held.is_held(tensor):
        return 0
    return nbytes(tensor, tensor.name)


def model_bytes(model: onnx.ModelProto) -> int:
    """What `model.ByteSize()` says with all data in it."""
    initializers = model.graph.initializer
    if sum(map(raw_bytes, initializers)) < _SMALL and not any(map(held.is_held, initializers)):
        return int(model.ByteSize())
    graph = _around(model.graph, onnx.GraphProto(), "initializer")
    graph += sum(_record(tensor_bytes(tensor)) for tensor in model.graph.initializer)
    return _around(model, onnx.ModelProto(), "graph") + _record(graph)


def _around(message: Any, shell: Any, *left_out: str) -> int:
    """Bytes of all fields of a message but some; `shell` is an empty message of its type."""
    for field, value in message.ListFields():
        if field.name in left_out:
            continue
        if field.message_type is not None or field.name == "dims":
            getattr(shell, field.name).extend(value)
        else:
            setattr(shell, field.name, value)
    return int(shell.ByteSize())


def _record(length: int) -> int:
    """Bytes of a length-delimited field of that length."""
    return _TAG + max(1, math.ceil(length.bit_length() / 7)) + length
