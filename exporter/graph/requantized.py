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
from .index import GraphIndex
from .points import Point, Quantized
from .qdq import dequantizer, dequantizes, point, quantizes
from .quantized import add_bias, rows_of
from .site import Fused


def requantized(index: GraphIndex, one: Fused, taken: set[int], needed: Collection[str]) -> Fused:
    """The operator with the nodes behind it, up to the integers that it gives.

    Parameters
    ----------
    taken
        Ids of nodes that operators have taken; added to.
    needed
        Values that something else reads.
    """
    floats = replace(one, activation="Float")
    part = one.quantized
    steps, value = _behind(index, one.output, taken)
    if not steps or part is None:
        return floats
    y = point(index, steps[-1])
    if y is None or y.zero.dtype != np.uint8:  # operators give nothing else: floats, and the node stays
        return floats
    if steps[0].op_type == "Add":
        part = _with_bias(index, one, steps[0])
        if part is None:
            return floats
    part = replace(part, y=y, clamp=_clamp(index, steps, y))
    one = _longer(replace(one, quantized=part), taken, steps, value)
    if one.kind == "QConv" and part.clamp is None and value not in needed:
        return _with_residual(index, one, part, taken)
    return one


def _longer(one: Fused, taken: set[int], nodes: list[onnx.NodeProto], output: str) -> Fused:
    taken.update(id(node) for node in nodes)
    return replace(one, nodes=(*one.nodes, *nodes), output=output)


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


def _with_bias(index: GraphIndex, one: Fused, node: onnx.NodeProto) -> Quantized | None:
    """MatMul + Add of a constant vector; None where it is anything else."""
    outputs = one.bias.size
    array = next((held for held in map(index.constant, node.input) if held is not None), None)
    if one.site.op_type != "MatMul" or array is None or array.size not in (1, outputs):
        return None
    if array.ndim > 2 or (array.size > 1 and array.shape[-1] != outputs) or one.quantized is None:
        return None
    return add_bias(one.quantized, rows_of(index, one.site), array.astype(np.float64).reshape(-1))


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


def _with_residual(index: GraphIndex, one: Fused, part: Quantized, taken: set[int]) -> Fused:
    """With dequantize, Add of another dequantized value, and quantize, where they stand behind it."""
    node = index.only_reader(one.output)
    if node is None or not dequantizes(node) or id(node) in taken or point(index, node) != part.y:
        return one
    mine = node.output[0]
    steps, value = _behind(index, mine, taken)
    if not steps or steps[0].op_type != "Add" or steps[0].input[0] == steps[0].input[1]:
        return one
    other = next(name for name in steps[0].input if name != mine)
    source = dequantizer(index, other)
    if source is None or source.input[0] in index.fixed:
        return one
    z, total = point(index, source), point(index, steps[-1])
    shape = index.shapes.get(mine)
    if z is None or total is None or total.zero.dtype != np.uint8:
        return one
    if shape is None or shape != index.shapes.get(other):
        return one  # it would broadcast, or nobody can tell
    part = replace(part, z=z, total=total, clamp=_clamp(index, steps, total))
    added = replace(one, quantized=part, residual=source.input[0])
    return _longer(added, taken, [node, *steps], value)
