"""Finding the layers of an ONNX graph: every Conv, Gemm and MatMul with a constant weight."""

from __future__ import annotations

import numpy as np
import onnx

from ...formats.base import Array
from .domain import MAIN_DOMAINS
from .index import GraphIndex, attribute
from .padding import explicit_pads, window
from .quantized import site_of
from .site import Site
from .zeros import tidy


def find(index: GraphIndex) -> list[Site]:
    """Every Conv, Gemm and MatMul whose weight is constant, in graph order."""
    found = []
    for node in index.nodes:
        if node.domain in MAIN_DOMAINS and node.op_type in ("Conv", "Gemm", "MatMul"):
            site = site_of(index, node)
            if site is None:
                site = _conv(index, node) if node.op_type == "Conv" else _matmul(index, node)
            if site is not None:
                found.append(site)
    tidy(index, found)
    return found


def _conv(index: GraphIndex, node: onnx.NodeProto) -> Site | None:
    weight = index.constant(node.input[1])
    if weight is None:
        return None
    image = index.shapes.get(node.input[0])
    pads, obstacle = explicit_pads(node, weight.shape[2:], image[2:] if image else None)
    obstacle = obstacle or _weight_obstacle(index, node, weight)
    spatial = weight.ndim - 2
    if spatial not in (1, 2):
        obstacle = f"{spatial}-D convolution has no packed operator"
    bias: Array | None = np.zeros(weight.shape[0])
    if len(node.input) > 2 and node.input[2]:
        constant = index.constant(node.input[2])
        bias = None if constant is None else constant.astype(np.float64).reshape(-1)
    if bias is None:
        bias, obstacle = np.zeros(weight.shape[0]), "its bias is computed at run time"
    attributes = {"shape": list(weight.shape), **window(node, spatial, pads)}
    scale = np.ones(weight.shape[0])
    return Site(node, "Conv", node.input[1], False, node.input[0], scale, bias, attributes, obstacle)


def _matmul(index: GraphIndex, node: onnx.NodeProto) -> Site | None:
    name, transposed = node.input[1], True
    maker = index.makers.get(name)
    if maker is not None and maker.op_type == "Transpose" and index.constant(maker.input[0]) is not None:
        if list(attribute(maker, "perm", [1, 0])) != [1, 0]:  # type: ignore[call-overload]
            return None
        name, transposed = maker.input[0], False
    weight = index.constant(name)
    if weight is None or weight.ndim != 2:
        return None
    if node.op_type == "Gemm" and attribute(node, "transB", 0):
        transposed = not transposed
    outputs = weight.shape[1] if transposed else weight.shape[0]
    scale, bias = np.ones(outputs), np.zeros(outputs)
    attributes = {"shape": [outputs, weight.size // outputs if outputs else 0]}
    obstacle = _weight_obstacle(index, node, weight)
    if node.op_type == "Gemm":
        scale *= float(attribute(node, "alpha", 1.0))  # type: ignore[arg-type]
        if attribute(node, "transA", 0):
            obstacle = "its input is transposed (transA)"
        if len(node.input) > 2 and node.input[2]:
            row = row_vector(index.constant(node.input[2]), outputs)
            if row is None:
                obstacle = "its bias is no constant vector over the outputs"
            else:
                bias = row * float(attribute(node, "beta", 1.0))  # type: ignore[arg-type]
    return Site(node, "MatMul", name, transposed, node.input[0], scale, bias, attributes, obstacle)


def _weight_obstacle(index: GraphIndex, node: onnx.NodeProto, weight: Array) -> str | None:
    quantized = next((step for step in index.cone(node.input[1]) if step.op_type == "DequantizeLinear"), None)
    if quantized is not None:
        if quantized.input[0] in index.initializers:
            kept = index.initializers[quantized.input[0]]
            return f"{kept.name} is quantized: the runtime computes with its integers as they are"
        maker = index.makers.get(node.input[0])
        if node.op_type == "MatMul" or (maker is not None and maker.op_type == "DequantizeLinear"):
            return "quantized in the graph: the runtime computes this layer with integers"
    if weight.dtype != np.float32:
        return f"weights are {weight.dtype}; packed operators take float32 activations"
    return "empty weight" if weight.size == 0 else None


def row_vector(array: Array | None, outputs: int) -> Array | None:
    """A constant that broadcasts over everything but the last axis, as float64 [outputs]."""
    if array is None or array.size not in (1, outputs) or (array.size > 1 and array.shape[-1] != outputs):
        return None
    return np.broadcast_to(array.astype(np.float64).reshape(-1), outputs).copy()
