"""Whether the tensors of a model are as large as they say, and no larger than the file may make."""

from __future__ import annotations

import math
from typing import Any

import onnx

from ....errors import CorruptFileError
from ....text import shown
from .. import budget
from .walk import sparse_tensors, tensors


def nbytes(tensor: onnx.TensorProto, name: str) -> int:
    """Bytes the tensor's shape and type take."""
    if any(dim < 0 for dim in tensor.dims):
        raise CorruptFileError(f"{name}: negative dimension in {shown(list(tensor.dims))}")
    if math.prod(max(1, dim) for dim in tensor.dims) >= 1 << 60 or len(tensor.dims) > budget.MAX_RANK:
        raise CorruptFileError(f"{name}: a shape that nothing has: {shown(list(tensor.dims))}")
    return -(-int(math.prod(tensor.dims)) * _bits(tensor.data_type, name) // 8)


def _bits(data_type: int, name: str) -> int:
    if data_type == onnx.TensorProto.STRING:
        raise CorruptFileError(f"{name}: strings cannot be external data")
    try:
        dtype: Any = onnx.helper.tensor_dtype_to_np_dtype(data_type)
    except (KeyError, ValueError) as error:
        raise CorruptFileError(f"{name}: unknown element type {data_type}") from error
    narrow: dict[str, int] = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
    return narrow.get(onnx.TensorProto.DataType.Name(data_type), int(dtype.itemsize) * 8)


def prove_tensors(model: onnx.ModelProto, size: int, where: str) -> None:
    for tensor in tensors(model.graph):
        name = f"{where}: tensor '{shown(tensor.name)}'"
        if tensor.data_type == onnx.TensorProto.STRING or tensor.data_location == onnx.TensorProto.EXTERNAL:
            continue
        need = nbytes(tensor, name)
        if tensor.HasField("raw_data") and len(tensor.raw_data) != need:
            raise CorruptFileError(
                f"{name}: holds {len(tensor.raw_data):,} bytes, but its shape and type take {need:,}"
            )
        if not tensor.HasField("raw_data") and need > 16 * size:
            raise CorruptFileError(f"{name}: claims {need:,} bytes in a file of {size:,}")
    dense = 0
    for sparse in sparse_tensors(model.graph):
        name = f"{where}: sparse tensor '{shown(sparse.values.name)}'"
        whole = onnx.TensorProto(dims=sparse.dims, data_type=sparse.values.data_type)
        dense += nbytes(whole, name)
    budget.current().refuse_growth(dense, size, f"{where}: its sparse tensors")
