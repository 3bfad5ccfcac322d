"""Weights that lie beside their model: views of what was read, until they are written.

A TensorProto has its data as bytes of its own, and each look at them makes another copy; so does each copy of
the model. A held tensor is a TensorProto without data that refers to an array in this process, in the way of
external data: copies of the model stay small, and its weights are where the checkpoint or the file left them.

NOTES
-----
What refers to an array is a location that no file has (it holds a NUL, which every reader of paths refuses)
and a key with a random part, so no file can name one. Whoever reads a tensor's data asks this module; what is
given to onnx or onnxruntime whole is `streamed.serialized`.
"""

from __future__ import annotations

import secrets
import weakref
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from ...errors import SparseExportError

Array = NDArray[Any]
Octets = NDArray[np.uint8]

#: Smaller tensors stay in their model.
LEAST_BYTES = 1 << 16

_LOCATION = "\0held"
_TOKEN = secrets.token_hex(8)
_owners: weakref.WeakValueDictionary[str, Tensors] = weakref.WeakValueDictionary()


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


def raw(tensor: onnx.TensorProto) -> bytes | memoryview:
    """The bytes of a tensor's data as a file has them: its `raw_data`."""
    return _octets(tensor).data if is_held(tensor) else tensor.raw_data


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
