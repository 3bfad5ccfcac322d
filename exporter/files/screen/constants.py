"""What the constants of a model grow to when it is opened, from shapes alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx

from .. import budget
from .walk import subgraphs

#: Operators whose result is another one each time: no constant, whatever their inputs are.
_RANDOM = frozenset({"RandomNormal", "RandomUniform", "Bernoulli", "Multinomial"})


def prove_constants(model: onnx.ModelProto, variable: set[str], size: int, where: str) -> None:
    """What depends on no `variable`, and so is worked out when the model is opened, is not too large.

    First from shapes alone. The second time onnx works out the numbers in shapes too, by making them: what is
    long by then was refused.
    """
    for numbers in (False, True):
        total = _constant_bytes(model, variable, numbers)
        budget.current().refuse_growth(total, size, f"{where}: its constants")


def _constant_bytes(model: onnx.ModelProto, variable: set[str], numbers: bool) -> int:
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=numbers)
    except MemoryError:
        raise
    except Exception:  # unknown operators, types that do not fit: onnxruntime will say so
        inferred = model
    graph = inferred.graph
    shapes = {value.name: value.type.tensor_type for value in (*graph.value_info, *graph.output)}
    depends, total = set(variable), 0
    for node in graph.node:
        constant = not any(name in depends for name in node.input) and node.op_type not in _RANDOM
        if constant and not subgraphs(node):
            total += sum(_declared(shapes.get(name)) for name in node.output)
        else:
            depends.update(node.output)
    return total


def _declared(value: Any) -> int:
    """Bytes of a value whose shape is known in full, else 0."""
    if value is None or not value.HasField("shape"):
        return 0
    dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in value.shape.dim]
    if any(dim < 0 for dim in dims):
        return 0
    try:
        width = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.elem_type)).itemsize
    except (KeyError, ValueError, TypeError):
        width = 8
    return math.prod(dims) * max(1, width)
