"""Writing small models to files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

#: Inputs and outputs of the square layers.
WIDTH = 128
X = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", WIDTH])
Y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)


def feeds(rows: int = 3) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(7).standard_normal((rows, WIDTH)).astype(np.float32)}


def write(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, Any],
    *,
    inputs: Sequence[onnx.ValueInfoProto] = (X,),
    outputs: Sequence[onnx.ValueInfoProto] = (Y,),
    also_inputs: Sequence[str] = (),
    opset: int = 18,
    ir: int = 10,
    functions: Sequence[onnx.FunctionProto] = (),
    sparse: Sequence[onnx.SparseTensorProto] = (),
) -> Path:
    """Save a model of these nodes; constants named in `also_inputs` are graph inputs too."""
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    declared = [
        helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        for tensor in tensors
        if tensor.name in also_inputs
    ]
    ends = [*inputs, *declared], list(outputs)
    graph = helper.make_graph(list(nodes), "g", *ends, tensors, sparse_initializer=list(sparse))
    domains = sorted({function.domain for function in functions})
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=ir, functions=list(functions))
    onnx.save(model, str(path))
    return path


def sparse_tensor(array: np.ndarray, name: str, *, coordinates: bool = False) -> onnx.SparseTensorProto:
    """The array as COO, by places in the flat tensor or by coordinates."""
    places = np.flatnonzero(array).astype(np.int64)
    values = numpy_helper.from_array(array.reshape(-1)[places], name)
    if coordinates:
        places = np.stack(np.unravel_index(places, array.shape), axis=1).astype(np.int64)
    return helper.make_sparse_tensor(
        values, numpy_helper.from_array(places, f"{name}_places"), list(array.shape)
    )


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]
