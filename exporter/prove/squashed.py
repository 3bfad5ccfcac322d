"""Outputs that end in a function with a range of its own, near whose ends a runtime steps."""

from __future__ import annotations

import numpy as np
import onnx

from ..graph.domain import MAIN_DOMAINS

#: onnxruntime computes these by approximations that are right to a few units of 1, not of their result: a
#: sigmoid of -16 is 1.5e-7 or 0, as the last bit of its input decides.
_SQUASHING = ("Sigmoid", "HardSigmoid")
#: What hands values on as they are.
_SHAPING = (
    *("Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Split", "Gather"),
    *("Concat", "Resize", "Expand", "Tile", "Pad", "ReduceMax", "MaxPool", "Dropout"),
)
#: The largest step: four units in the last place of 1.
STEP = 4 * float(np.finfo(np.float32).eps)


def squashed(model: onnx.ModelProto) -> set[str]:
    """Names of the model's outputs that are squashed values, perhaps in another shape."""
    makers = {name: node for node in model.graph.node for name in node.output}
    return {output.name for output in model.graph.output if _from_squashing(output.name, makers)}


def _from_squashing(name: str, makers: dict[str, onnx.NodeProto]) -> bool:
    seen: set[str] = set()
    while name in makers and name not in seen:
        seen.add(name)
        node = makers[name]
        if node.domain not in MAIN_DOMAINS:
            return False
        if node.op_type in _SQUASHING:
            return True
        if node.op_type not in _SHAPING or not node.input:
            return False
        name = node.input[0]
    return False
