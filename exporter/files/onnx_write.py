"""Writing a model: one `.onnx` file, or a small one with its weights in one aligned data file beside it.

The data file is named after its content and published first, the `.onnx` last, so a crash leaves the old pair
or the new pair, never a mixture; what a crash left over the next export removes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import onnx

from ...errors import SparseExportError, UnsupportedError
from ...text import shown
from . import external, proto_size, streamed, temporary
from .atomic import atomic_file, check_target
from .external import ALIGNMENT

__all__ = ["ALIGNMENT", "data_bytes", "save"]

#: Tensors below this stay inside the `.onnx`.
INLINE_BYTES = 1024
#: A protobuf message ends at 2 GiB; leave room for the graph.
MAX_INLINE_TOTAL = (1 << 31) - (64 << 20)

Check = Callable[[Path], None]


def data_bytes(model: onnx.ModelProto) -> int:
    """Bytes of all initializers."""
    return sum(_tensor_bytes(tensor) for tensor in model.graph.initializer)


def _tensor_bytes(tensor: onnx.TensorProto) -> int:
    return proto_size.raw_bytes(tensor) or int(tensor.ByteSize())


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
        Weights go to a data file, where any is large enough; always so when the model would pass 2 GiB.
    sources
        Files that are never overwritten.

    Raises
    ------
    InputError
        If the target cannot be written.
    UnsupportedError
        If what is left beside the data file is more than a protobuf can hold.
    """
    check_target(target, force=force, sources=sources)
    replaced = _data_of(target)
    try:
        if external_data or data_bytes(model) > MAX_INLINE_TOTAL:
            return _save_external(model, target, check, force, sources)
        _save_inline(model, target, check, force, sources)
        return [target]
    finally:
        external.remove_unused(target, replaced=replaced, sources=sources)


def _save_inline(
    model: onnx.ModelProto, target: Path, check: Check, force: bool, sources: Iterable[Path]
) -> None:
    with atomic_file(target, force=force, sources=sources) as file:
        try:
            for piece in streamed.pieces(model):
                file.write(piece)
        except (OSError, SparseExportError):
            raise
        except Exception as error:  # EncodeError or ValueError, as the implementation of protobuf likes
            raise UnsupportedError(
                f"{shown(target)}: more than a protobuf holds (2 GiB) even without the weights of its graph"
            ) from error
        file.flush()
        check(Path(file.name))


def _save_external(
    model: onnx.ModelProto, target: Path, check: Check, force: bool, sources: Iterable[Path]
) -> list[Path]:
    initializers = model.graph.initializer
    tensors = [tensor for tensor in initializers if proto_size.raw_bytes(tensor) >= INLINE_BYTES]
    if not tensors:
        _save_inline(model, target, check, force, sources)
        return [target]
    data = external.data_path(target, tensors)
    check_target(data, force=True, sources=sources)
    # From the data file to the model that refers to it nobody may take the data for left over.
    with temporary.directory_in_use(target.parent):
        external.write(data, tensors, force=force, sources=sources)
        small = _externalized(model, data.name, external.places(tensors))
        _save_inline(small, target, check, force, sources)
    return [target, data]


def _externalized(
    model: onnx.ModelProto, location: str, places: dict[str, tuple[int, int]]
) -> onnx.ModelProto:
    """A copy of the model that refers to the data file instead of holding the data."""
    small = onnx.ModelProto()
    _copy_fields(model, small, but="graph")
    _copy_fields(model.graph, small.graph, but="initializer")
    for tensor in model.graph.initializer:
        outside = small.graph.initializer.add()
        if tensor.name not in places:
            outside.CopyFrom(tensor)
            continue
        _copy_fields(tensor, outside, but="raw_data")
        del outside.external_data[:]  # of a tensor that is held
        outside.data_location = onnx.TensorProto.EXTERNAL
        offset, length = places[tensor.name]
        for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
            outside.external_data.add(key=key, value=value)
    return small


def _copy_fields(source: Any, target: Any, *, but: str) -> None:
    """Copy every field but one, without a copy of that one on the way."""
    for field, value in source.ListFields():
        if field.name == but:
            continue
        if hasattr(value, "ListFields"):
            getattr(target, field.name).CopyFrom(value)
        elif hasattr(value, "extend"):
            getattr(target, field.name).extend(value)
        else:
            setattr(target, field.name, value)


def _data_of(target: Path) -> set[str]:
    """Data files of ours that the model now at `target` refers to."""
    names = {path.name for path in external.candidates(target)}
    try:
        return external.mentions(target, names) if names else set()
    except OSError:
        return set()
