"""An .onnx file with its external data, every path and size in it checked before it is used."""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import onnx

from ...errors import CorruptFileError, InputError, UnsupportedError
from ...text import shown
from .kinds import regular_file

#: A protobuf cannot be larger.
_MAX_PROTO = (1 << 31) - 1
_NUMBER = re.compile(r"[0-9]{1,19}")


def read_onnx(path: Path) -> onnx.ModelProto:
    """The model with all its tensors inside.

    Raises
    ------
    CorruptFileError
        If it is no valid ONNX model, or its external data breaks a rule.
    UnsupportedError
        If it is larger than a protobuf can be.
    """
    size = regular_file(path)
    if size > _MAX_PROTO:
        raise UnsupportedError(
            f"{shown(path)}: {size:,} bytes, a protobuf holds {_MAX_PROTO:,}; save it with external data"
        )
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except Exception as error:  # DecodeError, of whichever protobuf implementation is installed
        raise CorruptFileError(
            f"{shown(path)}: not an ONNX file, or truncated: the protobuf cannot be read"
        ) from error
    if not model.ir_version or not model.HasField("graph") or not model.graph.output:
        raise CorruptFileError(f"{shown(path)}: not an ONNX model: it has no graph with outputs")
    for tensor in _tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _read_external(path, tensor)
    for function in model.functions:
        for node in function.node:
            for tensor in _node_tensors(node):
                if tensor.data_location == onnx.TensorProto.EXTERNAL:
                    raise CorruptFileError(
                        f"{shown(path)}: function '{shown(function.name)}' holds external data"
                    )
    _check(path, model)
    return model


def _check(path: Path, model: onnx.ModelProto) -> None:
    if model.ByteSize() > _MAX_PROTO:
        return  # the checker serializes its input
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # ValidationError, or a decoding error below it
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        text = shown(lines[0]) if lines else type(error).__name__
        raise CorruptFileError(f"{shown(path)}: not a valid ONNX model: {text}") from error


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of a graph and its subgraphs."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _node_tensors(node)


def _node_tensors(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for graph in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
            yield from _tensors(graph)


def _read_external(path: Path, tensor: onnx.TensorProto) -> None:
    """Read the bytes of one external tensor into it."""
    name = f"{shown(path)}: tensor '{shown(tensor.name)}'"
    entries = {entry.key: entry.value for entry in tensor.external_data}
    target = _safe_target(path, entries.get("location", ""), name)
    available = regular_file(target)
    need = _nbytes(tensor, name)
    offset = _number(entries.get("offset", "0"), "offset", name)
    length = _number(entries["length"], "length", name) if "length" in entries else need
    if length != need:
        raise CorruptFileError(
            f"{name}: external length {length:,}, but its shape and type take {need:,} bytes"
        )
    if offset > available or length > available - offset:
        raise CorruptFileError(
            f"{name}: bytes {offset:,} to {offset + length:,} of '{shown(target.name)}', which has only"
            f" {available:,}"
        )
    with target.open("rb") as file:
        file.seek(offset)
        data = file.read(length)
    if len(data) != length:
        raise CorruptFileError(f"{name}: '{shown(target.name)}' ended while it was read")
    tensor.raw_data = data
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]


def _safe_target(path: Path, location: str, name: str) -> Path:
    """The data file, which must lie beside the model.

    A link may lead out of the model's folder only to where the model itself is linked from: so the Hugging
    Face cache, whose snapshots link model and data to one folder of blobs, is readable.
    """
    parts = PurePosixPath(location).parts
    outside = (
        PurePosixPath(location).is_absolute() or PureWindowsPath(location).is_absolute() or ".." in parts
    )
    if not parts or outside or "\0" in location or location.startswith("*/"):
        raise CorruptFileError(
            f"{name}: external data '{shown(location)}' is not a path below the model's folder"
        )
    target = path.parent / location
    try:
        real = Path(os.path.realpath(target, strict=True))
        status = real.stat()
    except OSError as error:
        raise InputError(
            f"{name}: its data file '{shown(location)}' cannot be opened: {error.strerror}"
        ) from error
    roots = {Path(os.path.realpath(path.parent)), Path(os.path.realpath(path)).parent}
    if not any(real.is_relative_to(root) for root in roots):
        raise CorruptFileError(f"{name}: '{shown(location)}' is a link out of the model's folder")
    if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
        raise CorruptFileError(
            f"{name}: '{shown(location)}' is hard-linked under other names too; copy it (cp) to use it"
        )
    return real


def _number(text: str, what: str, name: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise CorruptFileError(f"{name}: external {what} '{shown(text)}' is not a number of bytes")
    return int(text)


def _nbytes(tensor: onnx.TensorProto, name: str) -> int:
    """Bytes the tensor's shape and type take."""
    if any(dim < 0 for dim in tensor.dims):
        raise CorruptFileError(f"{name}: negative dimension in {shown(list(tensor.dims))}")
    try:
        dtype: Any = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except (KeyError, ValueError) as error:
        raise CorruptFileError(f"{name}: unknown element type {tensor.data_type}") from error
    if tensor.data_type == onnx.TensorProto.STRING:
        raise CorruptFileError(f"{name}: strings cannot be external data")
    bits = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
    width: int = bits.get(onnx.TensorProto.DataType.Name(tensor.data_type), dtype.itemsize * 8)
    return -(-int(math.prod(tensor.dims)) * width // 8)
