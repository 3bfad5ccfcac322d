"""Sparse initializers of a source read as what they are: weights, most of them zero."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from ...errors import CorruptFileError, UnsupportedError
from ...text import shown
from ..files import budget
from .walk import all_graphs


def densify(model: onnx.ModelProto) -> dict[str, onnx.SparseTensorProto]:
    """Turn every sparse initializer of the model into a dense one; give those of its main graph by name.

    Raises
    ------
    CorruptFileError
        If indices lie outside the shape.
    UnsupportedError
        If the dense tensors would be out of all proportion to what is stored.
    """
    found: dict[str, onnx.SparseTensorProto] = {}
    _refuse_growth([sparse for graph in all_graphs(model.graph) for sparse in graph.sparse_initializer])
    for graph in all_graphs(model.graph):
        for sparse in graph.sparse_initializer:
            graph.initializer.append(_dense(sparse))
            if graph is model.graph:
                twin = onnx.SparseTensorProto()
                twin.CopyFrom(sparse)
                found[sparse.values.name] = twin
        del graph.sparse_initializer[:]
    return found


def dense_tensor(sparse: onnx.SparseTensorProto) -> onnx.TensorProto:
    """One sparse tensor as a dense one; raises as `densify` does."""
    _refuse_growth([sparse])
    return _dense(sparse)


def _refuse_growth(held: Sequence[onnx.SparseTensorProto]) -> None:
    need = sum(_nbytes(sparse) for sparse in held)
    limit = budget.current().growth(sum(sparse.ByteSize() for sparse in held))
    if need > limit:
        raise UnsupportedError(
            f"sparse tensors of {need:,} bytes when dense, over the limit of {limit:,};"
            " raise it with --max-dense"
        )


def _nbytes(sparse: onnx.SparseTensorProto) -> int:
    if any(dim < 0 for dim in sparse.dims):
        raise CorruptFileError(f"sparse tensor '{shown(sparse.values.name)}': negative dimension")
    return int(math.prod(sparse.dims) * numpy_helper.to_array(sparse.values).itemsize)


def _dense(sparse: onnx.SparseTensorProto) -> onnx.TensorProto:
    """The tensor; indices are places in the flat tensor, or one row of coordinates for each value."""
    name, shape = sparse.values.name, tuple(sparse.dims)
    values = numpy_helper.to_array(sparse.values).reshape(-1)
    indices = numpy_helper.to_array(sparse.indices).astype(np.int64)
    size = math.prod(shape)
    coordinates = indices.ndim == 2
    if len(indices) != values.size or (coordinates and indices.shape[1] != len(shape)):
        raise CorruptFileError(f"sparse tensor '{shown(name)}': its indices do not fit its values and shape")
    limits = np.array(shape if coordinates else [size], np.int64)
    if indices.size and (indices.min() < 0 or bool((indices >= limits).any())):
        raise CorruptFileError(
            f"sparse tensor '{shown(name)}': an index lies outside its shape {list(shape)}"
        )
    dense = np.zeros(size, values.dtype)
    places = np.ravel_multi_index(tuple(indices.T), shape) if coordinates else indices
    dense[places] = values
    return numpy_helper.from_array(dense.reshape(shape), name)
