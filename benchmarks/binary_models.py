"""1-bit layers and their peers as ONNX models."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
rng = np.random.default_rng(0)


def binary_weight(*shape: int) -> Array:
    """Random signs, one alpha for each output."""
    alpha = rng.uniform(0.01, 0.1, (shape[0], *[1] * (len(shape) - 1)))
    weight: Array = (alpha * rng.choice([-1, 1], shape)).astype(np.float32)
    return weight


def with_signs(dense: onnx.ModelProto) -> onnx.ModelProto:
    """The layer with the sign of its input before it."""
    model: onnx.ModelProto = onnx.ModelProto.FromString(dense.SerializeToString())
    node = model.graph.node[0]
    node.input[0] = "signs"
    first = [
        helper.make_node("GreaterOrEqual", ["x", "zero"], ["positive"]),
        helper.make_node("Where", ["positive", "one", "minus"], ["signs"]),
    ]
    layers = [*first, onnx.NodeProto.FromString(node.SerializeToString())]
    del model.graph.node[:]
    model.graph.node.extend(layers)
    for name, value in (("zero", 0), ("one", 1), ("minus", -1)):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    return model


def int8_model(dense: onnx.ModelProto, x: Array) -> onnx.ModelProto:
    """The convolution with 8-bit weights per channel and 8-bit activations, as QDQ."""
    weight = numpy_helper.to_array(dense.graph.initializer[0])
    scale = np.abs(weight).max(axis=(1, 2, 3)) / 127
    constants = {
        "weight_q": np.round(weight / scale[:, None, None, None]).astype(np.int8),
        "weight_scale": scale.astype(np.float32),
        "weight_zero": np.zeros(scale.size, np.int8),
        "x_scale": np.float32(np.abs(x).max() / 127),
        "x_zero": np.uint8(128),
        "y_scale": np.float32(0.5),
        "y_zero": np.uint8(128),
    }
    conv = onnx.NodeProto.FromString(dense.graph.node[0].SerializeToString())
    del conv.input[:]
    conv.input.extend(["x_d", "weight_d"])
    conv.output[0] = "y_f"
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["x_q"]),
        helper.make_node("DequantizeLinear", ["x_q", "x_scale", "x_zero"], ["x_d"]),
        helper.make_node(
            "DequantizeLinear", ["weight_q", "weight_scale", "weight_zero"], ["weight_d"], axis=0
        ),
        conv,
        helper.make_node("QuantizeLinear", ["y_f", "y_scale", "y_zero"], ["y_q"]),
        helper.make_node("DequantizeLinear", ["y_q", "y_scale", "y_zero"], ["y"]),
    ]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    inits = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "int8", infos[:1], infos[1:], inits)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def two_bit_model(outputs: int, inputs: int) -> onnx.ModelProto:
    """MatMulNBits with 2 bits, blocks of 128, accuracy level 4: the narrowest onnxruntime has on a CPU."""
    blocks = inputs // 128
    codes = rng.integers(0, 256, (outputs, blocks, 128 * 2 // 8)).astype(np.uint8)
    scales = np.full(outputs * blocks, 0.05, np.float32)
    node = helper.make_node(
        "MatMulNBits",
        ["x", "codes", "scales"],
        ["y"],
        domain="com.microsoft",
        K=inputs,
        N=outputs,
        bits=2,
        block_size=128,
        accuracy_level=4,
    )
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    inits = [numpy_helper.from_array(codes, "codes"), numpy_helper.from_array(scales, "scales")]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    graph = helper.make_graph([node], "bits", infos[:1], infos[1:], inits)
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)
