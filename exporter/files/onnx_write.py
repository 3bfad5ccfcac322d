"""Writing a model: one `.onnx` file, or a small one with its weights in one aligned data file beside it.

The data file carries a hash of its content in its name and is published first, the `.onnx` last, so a
crash leaves the old pair or the new pair, never a mixture.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import onnx

from .atomic import atomic_file, check_target

#: onnxruntime maps external tensors without copying; page alignment keeps them at page starts.
ALIGNMENT = 4096
#: Tensors below this stay inside the `.onnx`.
INLINE_BYTES = 1024
#: A protobuf message ends at 2 GiB; leave room for the graph.
MAX_INLINE_TOTAL = (1 << 31) - (64 << 20)

Check = Callable[[Path], None]


def data_bytes(model: onnx.ModelProto) -> int:
    """Bytes of all initializers."""
    return sum(_tensor_bytes(tensor) for tensor in model.graph.initializer)


def _tensor_bytes(tensor: onnx.TensorProto) -> int:
    return len(tensor.raw_data) if tensor.HasField("raw_data") else tensor.ByteSize()


def save(
    model: onnx.ModelProto,
    target: Path,
    *,
    check: Check = lambda path: None,
    force: bool = False,
    external_data: bool = False,
    sources: Iterable[Path] = (),
) -> list[Path]:
    """Write the model so that it is there whole, checked, or not at all; return the files.

    Parameters
    ----------
    check
        Called with the path of the finished file before it gets its final name; what it raises
        prevents the file.
    external_data
        Weights go to a data file; always so when the model would pass 2 GiB.

    Raises
    ------
    InputError
        If the target cannot be written.
    """
    check_target(target, force=force, sources=sources)
    if not external_data and data_bytes(model) <= MAX_INLINE_TOTAL:
        with atomic_file(target, force=force) as file:
            file.write(model.SerializeToString())
            file.flush()
            check(Path(file.name))
        return [target]
    return _save_external(model, target, check, force)


def _save_external(model: onnx.ModelProto, target: Path, check: Check, force: bool) -> list[Path]:
    tensors = [
        t for t in model.graph.initializer if t.HasField("raw_data") and len(t.raw_data) >= INLINE_BYTES
    ]
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.raw_data)
        digest.update(tensor.name.encode())
    data = target.with_name(f"{target.name.removesuffix('.onnx')}.{digest.hexdigest()[:12]}.data")
    before = _locations(target)
    existed = data.exists()
    with atomic_file(data, force=True) as file:
        places = _write_tensors(file, tensors)
    try:
        small = _externalized(model, data.name, places)
        with atomic_file(target, force=force) as file:
            file.write(small.SerializeToString())
            file.flush()
            check(Path(file.name))
    except BaseException:
        if not existed:
            data.unlink(missing_ok=True)
        raise
    for old in before - {data.name}:
        with contextlib.suppress(OSError):
            (target.parent / old).unlink()
    return [target, data]


def _write_tensors(file: BinaryIO, tensors: list[onnx.TensorProto]) -> dict[str, tuple[int, int]]:
    """Write each tensor at an aligned offset; return name to (offset, length)."""
    places = {}
    offset = 0
    for tensor in tensors:
        padding = -offset % ALIGNMENT
        file.write(b"\0" * padding)
        offset += padding
        file.write(tensor.raw_data)
        places[tensor.name] = (offset, len(tensor.raw_data))
        offset += len(tensor.raw_data)
    return places


def _externalized(
    model: onnx.ModelProto, location: str, places: dict[str, tuple[int, int]]
) -> onnx.ModelProto:
    """A copy of the model that refers to the data file instead of holding the data."""
    small = onnx.ModelProto()
    for name in ("ir_version", "producer_name", "producer_version"):
        setattr(small, name, getattr(model, name))
    small.opset_import.extend(model.opset_import)
    small.metadata_props.extend(model.metadata_props)
    small.functions.extend(model.functions)
    small.graph.name = model.graph.name
    small.graph.node.extend(model.graph.node)
    small.graph.input.extend(model.graph.input)
    small.graph.output.extend(model.graph.output)
    for tensor in model.graph.initializer:
        if tensor.name not in places:
            small.graph.initializer.append(tensor)
            continue
        outside = small.graph.initializer.add()
        outside.name, outside.data_type = tensor.name, tensor.data_type
        outside.dims.extend(tensor.dims)
        outside.data_location = onnx.TensorProto.EXTERNAL
        offset, length = places[tensor.name]
        for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
            outside.external_data.add(key=key, value=value)
    return small


def _locations(path: Path) -> set[str]:
    """Data files of ours that an earlier export of this name refers to."""
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception:  # not there, or not ours to clean up after
        return set()
    entries = (entry for tensor in model.graph.initializer for entry in tensor.external_data)
    names = {entry.value for entry in entries if entry.key == "location"}
    ours = re.compile(re.escape(path.name.removesuffix(".onnx")) + r"\.[0-9a-f]{12}\.data")
    return {name for name in names if ours.fullmatch(name)}
