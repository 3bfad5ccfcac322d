"""Finding the layers of an ONNX graph, and folding their neighbours into them.

`find` looks at every Conv, Gemm and MatMul with a constant weight. `fold` is called for the layers
that are going to be packed: it takes in a following BatchNorm, bias, residual Add and activation,
which a packed operator does in its epilogue.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx

from ...formats.base import Array
from .domain import MAIN_DOMAINS
from .index import GraphIndex, Layer, attribute
from .padding import explicit_pads
from .quantized import layer_of
from .requantized import fold as fold_quantized
from .zeros import tidy


def find(index: GraphIndex) -> list[Layer]:
    """Every Conv, Gemm and MatMul whose weight is constant, in graph order."""
    layers = []
    for node in index.nodes:
        if node.domain in MAIN_DOMAINS and node.op_type in ("Conv", "Gemm", "MatMul"):
            layer = layer_of(index, node)
            if layer is None:
                layer = _conv(index, node) if node.op_type == "Conv" else _matmul(index, node)
            if layer is not None:
                layers.append(layer)
    tidy(index, layers)
    return layers


def _layer(node: onnx.NodeProto, kind: str, weight: str, transposed: bool, outputs: int) -> Layer:
    return Layer(
        name=node.name or node.output[0],
        kind=kind,
        op_type=node.op_type,
        weight=weight,
        transposed=transposed,
        x=node.input[0],
        output=node.output[0],
        nodes=[node],
        scale=np.ones(outputs),
        bias=np.zeros(outputs),
    )


def _conv(index: GraphIndex, node: onnx.NodeProto) -> Layer | None:
    weight = index.constant(node.input[1])
    if weight is None:
        return None
    layer = _layer(node, "Conv", node.input[1], False, weight.shape[0])
    spatial = weight.ndim - 2
    image = index.shapes.get(node.input[0])
    pads, no_pads = explicit_pads(node, weight.shape[2:], image[2:] if image else None)
    layer.attributes = {
        "shape": list(weight.shape),
        "strides": list(attribute(node, "strides", [1] * spatial)),  # type: ignore[call-overload]
        "pads": pads,
        "dilations": list(attribute(node, "dilations", [1] * spatial)),  # type: ignore[call-overload]
        "group": attribute(node, "group", 1),
    }
    layer.obstacle = no_pads or _weight_obstacle(index, node, weight)
    if spatial not in (1, 2):
        layer.obstacle = f"{spatial}-D convolution has no packed operator"
    if len(node.input) > 2 and node.input[2]:
        bias = index.constant(node.input[2])
        if bias is None:
            layer.obstacle = "its bias is computed at run time"
        else:
            layer.bias = bias.astype(np.float64).reshape(-1)
    return layer


def _matmul(index: GraphIndex, node: onnx.NodeProto) -> Layer | None:
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
    layer = _layer(node, "MatMul", name, transposed, outputs)
    layer.attributes = {"shape": [outputs, weight.size // outputs if outputs else 0]}
    layer.obstacle = _weight_obstacle(index, node, weight)
    if node.op_type == "Gemm":
        layer.scale *= float(attribute(node, "alpha", 1.0))  # type: ignore[arg-type]
        if attribute(node, "transA", 0):
            layer.obstacle = "its input is transposed (transA)"
        if len(node.input) > 2 and node.input[2]:
            bias = _row_vector(index.constant(node.input[2]), outputs)
            if bias is None:
                layer.obstacle = "its bias is no constant vector over the outputs"
            else:
                layer.bias = bias * float(attribute(node, "beta", 1.0))  # type: ignore[arg-type]
    return layer


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


def _row_vector(array: Array | None, outputs: int) -> Array | None:
    """A constant that broadcasts over everything but the last axis, as float64 [outputs]."""
    if array is None or array.size not in (1, outputs) or (array.size > 1 and array.shape[-1] != outputs):
        return None
    return np.broadcast_to(array.astype(np.float64).reshape(-1), outputs).copy()


def fold(index: GraphIndex, layer: Layer, taken: set[int], needed: Collection[str] = ()) -> None:
    """Let the layer take in the nodes behind it that its operator can do in the epilogue.

    Parameters
    ----------
    taken
        Ids of nodes that a layer has taken already; updated.
    needed
        Values that a layer reads which the graph's own readers do not tell: a layer that takes the sign
        itself reads what comes before it.
    """
    if layer.quantized is not None:
        fold_quantized(index, layer, taken, needed)
        return
    taken.update(id(node) for node in layer.nodes)
    for step in (_fold_bias, _fold_norm, _fold_residual, _fold_activation):
        reader = index.only_reader(layer.output)
        if reader is None or layer.output in needed:
            return
        if reader.domain in MAIN_DOMAINS and id(reader) not in taken and step(index, layer, reader):
            taken.add(id(reader))
            layer.nodes.append(reader)
            layer.output = reader.output[0]


def _fold_bias(index: GraphIndex, layer: Layer, node: onnx.NodeProto) -> bool:
    """MatMul + Add of a constant vector."""
    if layer.op_type != "MatMul" or node.op_type != "Add":
        return False
    other = node.input[1] if node.input[0] == layer.output else node.input[0]
    array = index.constant(other)
    shape, x_shape = index.shapes.get(layer.output), index.shapes.get(layer.x)
    rank = len(shape) if shape is not None else len(x_shape) if x_shape is not None else 1
    bias = _row_vector(array, layer.bias.size)
    if bias is None or array is None or array.ndim > rank:
        return False
    layer.bias = layer.bias + bias
    return True


def _fold_norm(index: GraphIndex, layer: Layer, node: onnx.NodeProto) -> bool:
    """BatchNormalization with constant statistics, over the output channels."""
    if layer.kind == "MatMul" and layer.op_type != "Gemm":
        return False  # channels are axis 1, outputs the last axis: the same only for two dimensions
    factors = norm_factors(index, node, layer.scale.size)
    if factors is None:
        return False
    factor, mean, beta = factors
    if not layer.zero_scale and not factor.all():
        return False
    layer.scale = layer.scale * factor
    layer.bias = (layer.bias - mean) * factor + beta
    return True


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


def _fold_residual(index: GraphIndex, layer: Layer, node: onnx.NodeProto) -> bool:
    """Add of a computed value of the same shape."""
    if layer.kind != "Conv" or node.op_type != "Add" or node.input[0] == node.input[1]:
        return False
    other = node.input[1] if node.input[0] == layer.output else node.input[0]
    shape = index.shapes.get(layer.output)
    if index.constant(other) is not None or other in index.initializers or shape is None:
        return False
    if shape != index.shapes.get(other):
        return False  # it would broadcast, or nobody can tell
    layer.residual = other
    return True


def _fold_activation(index: GraphIndex, layer: Layer, node: onnx.NodeProto) -> bool:
    """Relu, or Clip with constant bounds."""
    if node.op_type == "Relu":
        layer.activation = "Relu"
        return True
    if node.op_type != "Clip" or node.input[0] != layer.output:
        return False
    bounds = [-np.inf, np.inf]
    for place, name in enumerate(node.input[1:3]):
        if name:
            array = index.constant(name)
            if array is None:
                return False
            bounds[place] = float(array.reshape(-1)[0])
    layer.activation, layer.bounds = "Clip", (bounds[0], bounds[1])
    return True
