"""QuantizeLinear and DequantizeLinear: which nodes they are, and what their scales and zero points say."""

from __future__ import annotations

import numpy as np
import onnx

from ...formats.base import Array
from .domain import MAIN_DOMAINS
from .index import GraphIndex
from .points import EIGHT_BITS, Point
from .walk import attribute

#: Where the two nodes live: below opset 21 onnxruntime may write them in its own domain.
DOMAINS = (*MAIN_DOMAINS, "com.microsoft")


def quantizes(node: onnx.NodeProto) -> bool:
    """Whether a node is a QuantizeLinear."""
    return node.op_type == "QuantizeLinear" and node.domain in DOMAINS


def dequantizes(node: onnx.NodeProto) -> bool:
    """Whether a node is a DequantizeLinear."""
    return node.op_type == "DequantizeLinear" and node.domain in DOMAINS


def dequantizer(index: GraphIndex, name: str) -> onnx.NodeProto | None:
    """The DequantizeLinear that gives a value."""
    node = index.makers.get(name)
    return node if node is not None and dequantizes(node) else None


def point(index: GraphIndex, node: onnx.NodeProto) -> Point | None:
    """Scale and zero point of such a node; None unless it has one of each, constant, valid, for 8 bits."""
    scale = index.constant(node.input[1])
    zero: Array | None
    if len(node.input) > 2 and node.input[2]:
        zero = index.constant(node.input[2])
    else:
        zero = _default_zero(index, node)
    if scale is None or zero is None or scale.size != 1 or zero.size != 1 or scale.dtype != np.float32:
        return None
    value = scale.reshape(-1)[0]
    if zero.dtype.name not in EIGHT_BITS or not np.isfinite(value) or value <= 0:
        return None
    return Point(value, zero.reshape(-1)[0])


def _default_zero(index: GraphIndex, node: onnx.NodeProto) -> Array | None:
    """The zero point of a node that names none: 0, in the type of its integers."""
    if quantizes(node):
        wanted = attribute(node, "output_dtype", 0) or onnx.TensorProto.UINT8
    else:
        wanted = index.types.get(node.input[0], 0)
    names = {onnx.TensorProto.UINT8: np.uint8, onnx.TensorProto.INT8: np.int8}
    return np.zeros(1, names[wanted]) if wanted in names else None
