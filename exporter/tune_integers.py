"""One layer of integers as a model of its own, to be timed: what its operator takes in, bytes to bytes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..runtime.inputs import Feeds, normal
from .graph.index import GraphIndex
from .graph.points import Point
from .graph.site import Fused

#: Spread of the inputs, in quanta.
_SPREAD = 30


def alone(
    index: GraphIndex, model: onnx.ModelProto, operator: Fused, shapes: Mapping[str, tuple[object, ...]]
) -> tuple[onnx.ModelProto, Feeds] | None:
    """The dense layer with what stands behind it, and inputs; None where a shape is not known.

    Parameters
    ----------
    operator
        What replaces it in the whole net.
    """
    part = operator.quantized
    assert part is not None
    feeds: Feeds = {}
    for name, quantum in zip(operator.reads, (part.x, part.z), strict=False):
        shape = shapes.get(name)
        if shape is None or quantum is None or not all(isinstance(dim, int) for dim in shape):
            return None
        feeds[name] = _integers(name, [int(str(dim)) for dim in shape], quantum)
    nodes, constants = _before(index, operator.output, set(feeds))
    floats = part.y is None
    kind = onnx.TensorProto.FLOAT if floats else helper.np_dtype_to_tensor_dtype(part.y.zero.dtype)  # type: ignore[union-attr]
    graph = helper.make_graph(
        nodes,
        "layer",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in feeds.items()
        ],
        [helper.make_tensor_value_info(operator.output, kind, None)],
        constants,
    )
    return helper.make_model(
        graph, opset_imports=list(model.opset_import), ir_version=model.ir_version
    ), feeds


def _integers(name: str, shape: list[int], quantum: Point) -> np.ndarray:
    steps = np.rint(normal(name, shape)[name] * _SPREAD) + float(quantum.zero)
    array: np.ndarray = np.clip(steps, *quantum.limits).astype(quantum.zero.dtype)
    return array


def _before(
    index: GraphIndex, output: str, given: set[str]
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """The nodes between these values and an output, in graph order, and the constants that they read."""
    wanted, names, todo = set(), set(), [output]
    while todo:
        name = todo.pop()
        maker = index.makers.get(name)
        if name in given or name in names or not name:
            continue
        names.add(name)
        if maker is not None and id(maker) not in wanted:
            wanted.add(id(maker))
            todo += maker.input
    nodes = [node for node in index.nodes if id(node) in wanted]
    held = sorted(name for name in names if name in index.initializers)
    arrays = ((name, index.constant(name)) for name in held)
    return nodes, [numpy_helper.from_array(array, name) for name, array in arrays if array is not None]
