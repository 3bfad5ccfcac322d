"""Types and shapes of a graph's values, as far as onnx infers them; without the weights' bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx

from .walk import all_graphs

Shape = tuple[object, ...]


@dataclass
class Inferred:
    """By value name: its shape (a symbolic dimension is its name), its rank and its element type."""

    shapes: dict[str, Shape] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)
    types: dict[str, int] = field(default_factory=dict)


def inferred(model: onnx.ModelProto) -> Inferred:
    """Types and shapes of all values, of nested graphs too where a name means one thing only."""
    found = Inferred()
    doubtful: set[str] = set()
    graph = _inferred(model).graph
    for inner in all_graphs(graph):
        for value in [*inner.value_info, *inner.input, *inner.output]:
            tensor = value.type.tensor_type
            shape = _shape(tensor) if tensor.HasField("shape") else None
            if inner is not graph and value.name in found.types:
                same = found.types[value.name] == tensor.elem_type
                if not same or found.ranks.get(value.name) != (None if shape is None else len(shape)):
                    doubtful.add(value.name)
            if tensor.elem_type:
                found.types[value.name] = tensor.elem_type
            if shape is not None:
                found.ranks[value.name] = len(shape)
                if inner is graph:
                    found.shapes[value.name] = shape
        for constant in inner.initializer:
            found.types[constant.name] = constant.data_type
            found.ranks[constant.name] = len(constant.dims)
    for name in doubtful:
        found.types.pop(name, None)
        found.ranks.pop(name, None)
    return found


#: The shape of each input, None for a size that nobody knows.
Examples = Sequence[tuple[int | None, ...]]
#: Size of an open axis behind the batch, by the rank of its input: an image, a volume; else a sequence.
_USUAL = {4: 224, 5: 32}


def concrete_shapes(model: onnx.ModelProto, examples: Examples | None) -> dict[str, Shape]:
    """Inferred shapes of one run: the examples fill in what the graph's inputs leave open.

    What no example says is a batch of 1 and elsewhere a size that nets of that rank are usually run with.
    """
    slim = without_data(model)
    names = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in slim.graph.input if value.name not in names]
    for place, value in enumerate(inputs):
        example = examples[place] if examples and place < len(examples) else ()
        dims = value.type.tensor_type.shape.dim
        for axis, dim in enumerate(dims):
            if not dim.HasField("dim_value"):
                usual = _USUAL.get(len(dims), 128) if axis else 1
                known = example[axis] if axis < len(example) else None
                dim.dim_value = usual if known is None else known
    del slim.graph.value_info[:]
    for value in slim.graph.output:
        value.type.tensor_type.ClearField("shape")
    return inferred(slim).shapes


def _shape(tensor: onnx.TypeProto.Tensor) -> Shape:
    """A dimension is its size, its name, or where nothing is known a fresh object equal to no other."""
    return tuple(
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or object() for dim in tensor.shape.dim
    )


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return onnx.shape_inference.infer_shapes(without_data(model), data_prop=True)
    except Exception:  # shape inference is a help: without it nothing that needs shapes is done
        return model


def without_data(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every large initializer declared as an input: shapes without the bytes."""
    slim = onnx.ModelProto()
    slim.ir_version = model.ir_version
    slim.opset_import.extend(model.opset_import)
    slim.functions.extend(model.functions)
    graph = slim.graph
    graph.name = model.graph.name
    graph.node.extend(model.graph.node)
    graph.input.extend(model.graph.input)
    graph.output.extend(model.graph.output)
    graph.value_info.extend(model.graph.value_info)
    inputs = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if np.prod(tensor.dims, dtype=np.int64) <= 64 and tensor.data_location != onnx.TensorProto.EXTERNAL:
            graph.initializer.append(tensor)
        elif tensor.name not in inputs:
            graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            )
    return slim
