"""The activations that an operator does itself: which node one is, and its text in a function.

What the kernels do for each suffix is said in runtime/native/core/epilogue.h; a test compares the two tables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx

from .index import GraphIndex

#: Values of the operator's attributes by their names.
Parameters = dict[str, float]


@dataclass(frozen=True)
class Activation:
    """One activation.

    Attributes
    ----------
    read
        Of a node and a value that it reads: the parameters, if the node is this activation of the value.
    text
        What makes Y of {input} in a function's body; an attribute a is @a.
    result
        What it gives of a value "…", in numpy's functions and the attributes' names: the documents show it,
        and the tests compute it.
    parameters
        Names of its attributes.
    """

    read: Callable[[GraphIndex, onnx.NodeProto, str], Parameters | None]
    text: str
    result: str
    parameters: tuple[str, ...] = ()


def _relu(index: GraphIndex, node: onnx.NodeProto, value: str) -> Parameters | None:
    return {} if node.op_type == "Relu" else None


def _clip(index: GraphIndex, node: onnx.NodeProto, value: str) -> Parameters | None:
    """Of bounds that are constant; a bound that is left out is none."""
    if node.op_type != "Clip" or node.input[0] != value:
        return None
    bounds = {"min": -np.inf, "max": np.inf}
    for bound, name in zip(bounds, node.input[1:3], strict=False):
        if name:
            array = index.constant(name)
            if array is None:
                return None
            bounds[bound] = float(array.reshape(-1)[0])
    return bounds


#: By the suffix of the operator's name.
ACTIVATIONS = {
    "Relu": Activation(_relu, "Y = Relu ({input})", "maximum(…, 0)"),
    "Clip": Activation(
        _clip,
        """
    clip_min = Constant <value_float: float = @min> ()
    clip_max = Constant <value_float: float = @max> ()
    Y = Clip ({input}, clip_min, clip_max)
""",
        "minimum(maximum(…, min), max)",
        ("min", "max"),
    ),
}
#: What stands in a function where there is none.
NO_ACTIVATION = "Y = Identity ({input})"
