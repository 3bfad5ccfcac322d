"""Normalisations folded into the weights before them: what has to be done before those are rounded."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from ...formats.base import Array
from ..files import held
from .find import find
from .fuse import norm_factors
from .index import GraphIndex
from .site import Site
from .walk import fresh, read_names, replace_nodes, value_names


def fold_norms(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every BatchNormalization right behind a Conv or Gemm is in its weight and bias.

    Zeros stay zeros: a weight is multiplied by a factor for each output.
    """
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    for tensor in twin.graph.initializer:
        tensor.CopyFrom(held.whole(tensor))
    index, used = GraphIndex(twin), value_names(twin.graph)
    gone: set[int] = set()
    for layer in find(index):
        node = index.only_reader(layer.output)
        plain = layer.quantized is None and layer.weight in index.initializers and layer.op_type != "MatMul"
        if node is None or not plain or index.readers[layer.weight] != [layer.node]:
            continue
        factors = norm_factors(index, node, layer.scale.size)
        array = index.constant(layer.weight)
        if factors is None or array is None or layer.weight in index.pinned or layer.obstacle:
            continue
        factor, mean, beta = factors
        weight = _scaled(array, factor, layer)
        bias = ((layer.bias - mean) * factor + beta).astype(np.float32)
        index.initializers[layer.weight].CopyFrom(numpy_helper.from_array(weight, layer.weight))
        head = layer.node
        name = fresh(f"{layer.weight}.bias", used)
        twin.graph.initializer.append(numpy_helper.from_array(bias, name))
        del head.input[2:]
        head.input.append(name)
        head.output[0] = node.output[0]
        gone.add(id(node))
    if gone:
        replace_nodes(twin.graph, [node for node in index.nodes if id(node) not in gone])
        read = read_names(twin.graph) | {value.name for value in twin.graph.input}
        for place in reversed(range(len(twin.graph.initializer))):
            if twin.graph.initializer[place].name not in read:
                del twin.graph.initializer[place]
    return twin


def _scaled(array: Array, factor: Array, layer: Site) -> Array:
    """The weight with each output's part multiplied, -0.0 kept from coming up."""
    shape = [1] * array.ndim
    shape[1 if layer.transposed else 0] = -1
    scaled = (array.astype(np.float64) * factor.reshape(shape)).astype(np.float32)
    scaled[array == 0] = 0
    return scaled
