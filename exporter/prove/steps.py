"""Outputs whose last function steps: one with a range of its own near its ends, or the end of integers."""

from __future__ import annotations

import numpy as np
import onnx

from ..graph.domain import MAIN_DOMAINS
from ..graph.qdq import dequantizes, quantizes

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
#: Of an output of integers: quanta that they may be off by, where a layer before rounded the other way.
QUANTA = 2


def steps(model: onnx.ModelProto) -> dict[str, float]:
    """The largest step of each output that makes one, in any shape: squashed values, quantized ones, and
    dequantized ones."""
    makers = {name: node for node in model.graph.node for name in node.output}
    scales = {tensor.name: tensor for tensor in model.graph.initializer}
    found = {}
    for output in model.graph.output:
        last = _last(output.name, makers)
        if last is None:
            continue
        if last.domain in MAIN_DOMAINS and last.op_type in _SQUASHING:
            found[output.name] = STEP
        elif quantizes(last):
            found[output.name] = QUANTA
        elif dequantizes(last) and last.input[1] in scales:
            scale = onnx.numpy_helper.to_array(scales[last.input[1]]).astype(np.float64)
            found[output.name] = QUANTA * float(np.abs(scale).max(initial=0.0))
    return found


def _last(name: str, makers: dict[str, onnx.NodeProto]) -> onnx.NodeProto | None:
    """The node that a value comes from, but for its shape."""
    seen: set[str] = set()
    while name in makers and name not in seen:
        seen.add(name)
        node = makers[name]
        if node.domain not in MAIN_DOMAINS or node.op_type not in _SHAPING or not node.input:
            return node
        name = node.input[0]
    return None
