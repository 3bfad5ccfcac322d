"""The dense model that a packed file stands for: every weight in it once, as what the layers compute with."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import numpy_helper

from ..graph.index import GraphIndex
from ..plan.tensor_plan import TensorPlan
from .write import rewrite


def settled(index: GraphIndex, model: onnx.ModelProto, plans: Sequence[TensorPlan]) -> onnx.ModelProto:
    """The model with its packed weights as initializers instead of what they are computed from.

    It is the model itself where no packed weight is computed or was settled to other bits.
    """
    names = [plan.name for plan in plans if plan.packed and index.is_computed(plan.name)]
    if not names:
        return model
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    for node in twin.graph.node:
        for place, name in enumerate(node.output):
            if name in names:
                node.output[place] = index.fresh(name)
    for name in names:
        array = index.constant(name)
        assert array is not None
        twin.graph.initializer.append(numpy_helper.from_array(array, name))
    return rewrite(GraphIndex(twin), twin, [], {})
