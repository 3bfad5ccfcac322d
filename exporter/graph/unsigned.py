"""Signed activations made unsigned: 128 more in every integer and every zero point, so the same numbers.

Integer kernels on x86 multiply unsigned activations with signed weights; stock onnxruntime makes the same
change there by itself, but not where a Clip of integers stands behind a layer.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from ..files import held
from .domain import MAIN_DOMAINS
from .qdq import dequantizes, quantizes
from .walk import captured, fresh, value_names

_ZERO = 2
#: What gives integers of its first input as they are.
_MOVES = ("MaxPool", "Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity")


def make_unsigned(model: onnx.ModelProto) -> None:
    """Change every int8 tensor that one QuantizeLinear gives and DequantizeLinear nodes alone read.

    Nodes that move integers about, or choose the largest, may stand between.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    kept = {value.name for value in (*graph.input, *graph.output)}
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        kept.update(captured(node))
        for name in node.input:
            readers[name].append(node)
    moved: dict[str, str] = {}
    used, fixed = value_names(graph), set(constants)
    for node in graph.node:
        if all(name in fixed for name in node.input):  # a weight, rounded in the graph
            fixed.update(node.output)
            continue
        if not quantizes(node) or node.output[0] in kept or _signed(node, constants, kept) is None:
            continue
        ends = _ends(readers, node.output[0], kept)
        if not ends or None in [_signed(end, constants, kept) for end in ends]:
            continue
        for item in (node, *ends):
            name = item.input[_ZERO]
            if name not in moved:
                zero = held.array(constants[name]).astype(np.int16) + 128
                moved[name] = fresh(f"{name}.unsigned", used)
                graph.initializer.append(numpy_helper.from_array(zero.astype(np.uint8), moved[name]))
            item.input[_ZERO] = moved[name]


def _ends(readers: dict[str, list[onnx.NodeProto]], name: str, kept: set[str]) -> list[onnx.NodeProto]:
    """The DequantizeLinear nodes that all ways from a value lead to; none where one leads elsewhere."""
    found: list[onnx.NodeProto] = []
    names = [name]
    while names:
        name = names.pop()
        if name in kept or not readers[name]:
            return []
        for node in readers[name]:
            if list(node.input).index(name) != 0 or list(node.input).count(name) != 1:
                return []
            if dequantizes(node):
                found.append(node)
            elif node.op_type in _MOVES and node.domain in MAIN_DOMAINS and len(node.output) == 1:
                names.append(node.output[0])
            else:
                return []
    return found


def _signed(
    node: onnx.NodeProto, constants: dict[str, onnx.TensorProto], kept: set[str]
) -> onnx.TensorProto | None:
    """The int8 zero point of such a node where it is a constant, None for any other."""
    name = node.input[_ZERO] if len(node.input) > _ZERO else ""
    zero = constants.get(name)
    plain = (
        zero is not None
        and name not in kept
        and not any(item.name == "output_dtype" and item.i for item in node.attribute)
    )
    return zero if zero is not None and plain and zero.data_type == TensorProto.INT8 else None
