"""An .onnx file with its external data, every path and size in it checked before it is used."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import onnx

from ...errors import CorruptFileError, InputError, UnsupportedError
from ...text import shown
from . import budget, held, sandbox, streamed
from .failures import ours
from .kinds import regular_file
from .screen.prove import prove
from .screen.sizes import nbytes
from .screen.walk import node_tensors, subgraphs
from .screen.walk import tensors as tensors_of

#: A protobuf cannot be larger.
_MAX_PROTO = (1 << 31) - 1
_NUMBER = re.compile(r"[0-9]{1,19}")


def read_onnx(path: Path) -> onnx.ModelProto:
    """The model with all its tensors inside; raises as `read_held` does."""
    return _read_model(path, None)


def read_held(path: Path, tensors: held.Tensors) -> onnx.ModelProto:
    """The model; its large tensors are views of what was read, which `tensors` keeps.

    Raises
    ------
    CorruptFileError
        If it is no valid ONNX model, costs more than its file may, or its external data breaks a rule.
    UnsupportedError
        If it is larger than a protobuf can be.
    """
    return _read_model(path, tensors)


def reread(path: Path, tensors: held.Tensors) -> onnx.ModelProto:
    """The same of a file that this process has just written: nothing of it is in doubt."""
    model = _parse(path, path.read_bytes(), tensors)
    for place in _external(path, model, ours=True):
        _read(place, tensors)
    return model


def _read_model(path: Path, tensors: held.Tensors | None) -> onnx.ModelProto:
    size = regular_file(path)
    if size > _MAX_PROTO:
        raise UnsupportedError(
            f"{shown(path)}: {size:,} bytes, a protobuf holds {_MAX_PROTO:,}; save it with external data"
        )
    with ours(path):
        data = path.read_bytes()
        limits = budget.current()
        sandbox.run(
            _prove, path, data, memory=limits.address_space(size), seconds=limits.time(size), subject=path
        )
        model = _parse(path, data, tensors)
        del data
        for place in _external(path, model, ours=tensors is not None):
            _read(place, tensors)
    return model


def _prove(path: Path, data: bytes) -> None:
    """Every check of the model, in a child: of the very bytes that are parsed again afterwards."""
    model = _parse(path, data)
    places = _external(path, model, ours=False)
    available = {place.target: place.available for place in places}
    size = len(data) + sum(available.values())
    total = sum(place.length for place in places)
    budget.current().refuse_growth(
        total, size, f"{shown(path)}: its external data", times=budget.SHARED_TIMES
    )
    prove(model, size, shown(path))


def _parse(path: Path, data: bytes, tensors: held.Tensors | None = None) -> onnx.ModelProto:
    try:
        model = onnx.ModelProto.FromString(data) if tensors is None else streamed.parse(data, tensors)
    except Exception as error:  # DecodeError, of whichever protobuf implementation is installed
        raise CorruptFileError(
            f"{shown(path)}: not an ONNX file, or truncated: the protobuf cannot be read"
        ) from error
    if not model.ir_version or not model.HasField("graph") or not model.graph.output:
        raise CorruptFileError(f"{shown(path)}: not an ONNX model: it has no graph with outputs")
    _open_dimensions(model.graph)
    return model


def _open_dimensions(graph: onnx.GraphProto) -> None:
    """Take a dimension of -1, as some exporters write for one that is open, as what it means."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_value == -1:
                dim.ClearField("dim_value")


@dataclass(frozen=True)
class _Place:
    """Where the bytes of an external tensor lie, and whether it is an initializer of the main graph."""

    tensor: onnx.TensorProto
    name: str
    target: Path
    offset: int
    length: int
    available: int
    initializer: bool


def _external(path: Path, model: onnx.ModelProto, *, ours: bool) -> list[_Place]:
    """Every external tensor of the model, its place proved; `ours`: those that we hold lie in no file."""
    for function in model.functions:
        for node in function.node:
            inner = [t for graph in subgraphs(node) for t in tensors_of(graph)]
            for tensor in (*node_tensors(node), *inner):
                if tensor.data_location == onnx.TensorProto.EXTERNAL:
                    raise CorruptFileError(
                        f"{shown(path)}: function '{shown(function.name)}' holds external data"
                    )
    opened: dict[str, tuple[Path, int]] = {}
    return [
        _place(path, tensor, opened, place < len(model.graph.initializer))
        for place, tensor in enumerate(tensors_of(model.graph))
        if tensor.data_location == onnx.TensorProto.EXTERNAL and not (ours and held.is_held(tensor))
    ]


def _place(
    path: Path, tensor: onnx.TensorProto, opened: dict[str, tuple[Path, int]], initializer: bool
) -> _Place:
    name = f"{shown(path)}: tensor '{shown(tensor.name)}'"
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if location not in opened:
        target = _safe_target(path, location, name)
        opened[location] = target, regular_file(target)
    target, available = opened[location]
    need = nbytes(tensor, name)
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
    return _Place(tensor, name, target, offset, length, available, initializer)


def _read(place: _Place, tensors: held.Tensors | None) -> None:
    """Put the bytes of an external tensor into it, or let it refer to them."""
    with place.target.open("rb") as file:
        file.seek(place.offset)
        data = file.read(place.length)
    if len(data) != place.length:
        raise CorruptFileError(f"{place.name}: '{shown(place.target.name)}' ended while it was read")
    large = place.initializer and place.length >= held.LEAST_BYTES
    if tensors is not None and large and held.can_hold(place.tensor.data_type):
        tensors.hold(place.tensor, np.frombuffer(data, np.uint8))
        return
    place.tensor.raw_data = data
    place.tensor.ClearField("data_location")
    del place.tensor.external_data[:]


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
