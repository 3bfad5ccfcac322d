"""What stands behind a layer of integers and belongs to it: bias, activation, requantization, residual.

Producers differ: onnxruntime leaves out a Relu that zero point and range imply, PT2E and NNCF keep it;
Brevitas clips the integers once more. All of it is read by value, nothing by name.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import onnx

from .domain import MAIN_DOMAINS
from .index import GraphIndex, Layer
from .points import Point
from .qdq import dequantizer, dequantizes, point, quantizes
from .quantized import add_bias


def fold(index: GraphIndex, layer: Layer, taken: set[int], needed: Collection[str] = ()) -> None:
    """Let the layer take in the nodes behind it, up to the integers that it gives.

    Parameters
    ----------
    taken, needed
        As `find.fold` has them.
    """
    taken.update(id(node) for node in layer.nodes)
    assert layer.quantized is not None
    layer.activation = "Float"
    steps, value = _behind(index, layer.output, taken)
    if not steps:
        return
    y = point(index, steps[-1])
    if y is None or y.zero.dtype != np.uint8:  # operators give nothing else: floats, and the node stays
        return
    if steps[0].op_type == "Add" and not _take_bias(index, layer, steps[0]):
        return
    layer.activation = ""
    layer.quantized = replace(layer.quantized, y=y, clamp=_clamp(index, steps, y))
    _take(layer, taken, steps, value)
    if layer.kind == "QConv" and layer.quantized.clamp is None and value not in needed:
        _fold_residual(index, layer, taken)


def _take(layer: Layer, taken: set[int], nodes: list[onnx.NodeProto], output: str) -> None:
    taken.update(id(node) for node in nodes)
    layer.nodes += nodes
    layer.output = output


def _behind(index: GraphIndex, name: str, taken: set[int]) -> tuple[list[onnx.NodeProto], str]:
    """The nodes from a float value up to its QuantizeLinear, an Add and an activation at most, and what
    that gives; none where something else reads one of them."""
    steps: list[onnx.NodeProto] = []
    while True:
        node = index.only_reader(name)
        if node is None or id(node) in taken:
            return [], ""
        steps.append(node)
        if quantizes(node):
            return (steps, node.output[0]) if node.input[0] == name else ([], "")
        last = steps[-2].op_type if len(steps) > 1 else ""
        adds = node.op_type == "Add" and not last
        activates = _bounds(index, node) is not None and node.input[0] == name and last in ("", "Add")
        if node.domain not in MAIN_DOMAINS or not (adds or activates):
            return [], ""
        name = node.output[0]


def _take_bias(index: GraphIndex, layer: Layer, node: onnx.NodeProto) -> bool:
    """MatMul + Add of a constant vector."""
    codes, outputs = index.constant(layer.weight), layer.scale.size
    array = next((held for held in map(index.constant, node.input) if held is not None), None)
    if layer.op_type != "MatMul" or array is None or codes is None or array.size not in (1, outputs):
        return False
    if array.ndim > 2 or (array.size > 1 and array.shape[-1] != outputs):
        return False
    return add_bias(layer, codes, array.astype(np.float64).reshape(-1))


def _bounds(index: GraphIndex, node: onnx.NodeProto) -> tuple[float, float] | None:
    """Bounds of a Relu, or of a Clip with constant ones."""
    if node.op_type == "Relu":
        return 0.0, np.inf
    if node.op_type != "Clip":
        return None
    bounds = [-np.inf, np.inf]
    for place, name in enumerate(node.input[1:3]):
        array = index.constant(name) if name else np.array(bounds[place])
        if array is None or array.size != 1:
            return None
        bounds[place] = float(array.reshape(-1)[0])
    return bounds[0], bounds[1]


def _clamp(index: GraphIndex, steps: list[onnx.NodeProto], y: Point) -> tuple[int, int] | None:
    """The integers between which an activation holds the result; None where their type says the same.

    Rounding keeps order, so to clip numbers and quantize them is to quantize them and clip integers.
    """
    limits = [bounds for node in steps if (bounds := _bounds(index, node)) is not None]
    if not limits:
        return None
    held = y.quantize(limits[0][0]), y.quantize(limits[0][1])
    return None if held == y.limits else held


def _fold_residual(index: GraphIndex, layer: Layer, taken: set[int]) -> None:
    """Take in dequantize, Add of another dequantized value, and quantize."""
    part, node = layer.quantized, index.only_reader(layer.output)
    assert part is not None
    if node is None or not dequantizes(node) or id(node) in taken or point(index, node) != part.y:
        return
    mine = node.output[0]
    steps, value = _behind(index, mine, taken)
    if not steps or steps[0].op_type != "Add" or steps[0].input[0] == steps[0].input[1]:
        return
    other = next(name for name in steps[0].input if name != mine)
    source = dequantizer(index, other)
    if source is None or source.input[0] in index.fixed:
        return
    z, total = point(index, source), point(index, steps[-1])
    shape = index.shapes.get(mine)
    if z is None or total is None or total.zero.dtype != np.uint8:
        return
    if shape is None or shape != index.shapes.get(other):
        return  # it would broadcast, or nobody can tell
    layer.quantized = replace(part, z=z, total=total, clamp=_clamp(index, steps, total))
    layer.residual = source.input[0]
    _take(layer, taken, [node, *steps], value)
