"""What one packed operator does at a site: the nodes behind it that its epilogue takes in.

A packed operator does a following BatchNorm, bias, residual Add and activation itself. `fuse` says which,
for the sites that are to be packed together; nothing is changed by it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

import numpy as np
import onnx

from ...formats.base import Array
from .activations import ACTIVATIONS
from .domain import MAIN_DOMAINS
from .find import row_vector
from .index import GraphIndex, attribute
from .requantized import requantized
from .site import Fused, Site


def fuse(index: GraphIndex, sites: Iterable[Site | Fused]) -> list[Fused]:
    """The operators of these sites, in graph order: a node that two could take goes to the first.

    Parameters
    ----------
    sites
        All that are packed: where two share a node, or one reads before a sign that follows another, each
        hangs on the rest. A `Fused` begins as it is, with what was settled about its input.
    """
    begun = [site if isinstance(site, Fused) else Fused.alone(site) for site in sites]
    begun.sort(key=lambda one: index.position[id(one.site.node)])
    # A layer that takes the sign itself reads what comes before it: the graph's own readers do not tell.
    needed = {one.x for one in begun if one.binary_input}
    taken: set[int] = set()
    return [_fused(index, one, taken, needed) for one in begun]


def _fused(index: GraphIndex, one: Fused, taken: set[int], needed: Collection[str]) -> Fused:
    """With the nodes behind it; their ids are added to `taken`."""
    taken.update(id(node) for node in one.nodes)
    if one.quantized is not None:
        return requantized(index, one, taken, needed)
    for step in (_bias, _norm, _residual, _activation):
        reader = index.only_reader(one.output)
        if reader is None or one.output in needed:
            return one
        if reader.domain not in MAIN_DOMAINS or id(reader) in taken:
            continue
        longer = step(index, one, reader)
        if longer is not None:
            taken.add(id(reader))
            one = replace(longer, nodes=(*one.nodes, reader), output=reader.output[0])
    return one


def _bias(index: GraphIndex, one: Fused, node: onnx.NodeProto) -> Fused | None:
    """MatMul + Add of a constant vector."""
    if one.site.op_type != "MatMul" or node.op_type != "Add":
        return None
    array = index.constant(_other(node, one.output))
    shape, x_shape = index.shapes.get(one.output), index.shapes.get(one.x)
    rank = len(shape) if shape is not None else len(x_shape) if x_shape is not None else 1
    bias = row_vector(array, one.bias.size)
    if bias is None or array is None or array.ndim > rank:
        return None
    return replace(one, bias=one.bias + bias)


def _norm(index: GraphIndex, one: Fused, node: onnx.NodeProto) -> Fused | None:
    """BatchNormalization with constant statistics, over the output channels."""
    if one.kind == "MatMul" and one.site.op_type != "Gemm":
        return None  # channels are axis 1, outputs the last axis: the same only for two dimensions
    factors = norm_factors(index, node, one.scale.size)
    if factors is None:
        return None
    factor, mean, beta = factors
    if not one.zero_scale and not factor.all():
        return None
    return replace(one, scale=one.scale * factor, bias=(one.bias - mean) * factor + beta)


def norm_factors(index: GraphIndex, node: onnx.NodeProto, channels: int) -> tuple[Array, Array, Array] | None:
    """(factor, mean, beta) of a constant BatchNormalization: (x - mean) * factor + beta."""
    if node.op_type != "BatchNormalization" or attribute(node, "training_mode", 0):
        return None
    parameters = [index.constant(name) for name in node.input[1:5]]
    if any(array is None or array.size != channels for array in parameters):
        return None
    gamma, beta, mean, variance = (array.astype(np.float64) for array in parameters if array is not None)
    factor: Array = gamma / np.sqrt(variance + float(attribute(node, "epsilon", 1e-5)))  # type: ignore[arg-type]
    return factor, mean, beta


def _residual(index: GraphIndex, one: Fused, node: onnx.NodeProto) -> Fused | None:
    """Add of a computed value of the same shape."""
    if one.kind != "Conv" or node.op_type != "Add" or node.input[0] == node.input[1]:
        return None
    other, shape = _other(node, one.output), index.shapes.get(one.output)
    if index.constant(other) is not None or other in index.initializers or shape is None:
        return None
    if shape != index.shapes.get(other):
        return None  # it would broadcast, or nobody can tell
    return replace(one, residual=other)


def _activation(index: GraphIndex, one: Fused, node: onnx.NodeProto) -> Fused | None:
    """What one of the epilogue's activations says, its parameters constant."""
    for suffix, activation in ACTIVATIONS.items():
        parameters = activation.read(index, node, one.output)
        if parameters is not None:
            return replace(one, activation=suffix, parameters=parameters)
    return None


def _other(node: onnx.NodeProto, value: str) -> str:
    """The input of an Add that is not this value."""
    return str(node.input[1] if node.input[0] == value else node.input[0])
