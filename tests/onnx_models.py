"""Small dense ONNX models, written out node by node."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

Arrays = dict[str, np.ndarray]


def pruned(rng: np.random.Generator, *shape: int, density: float = 0.1) -> np.ndarray:
    """A float32 array in which about `density` of the values are not zero."""
    array = rng.standard_normal(shape).astype(np.float32)
    array[rng.random(shape) > density] = 0
    return array


def model(
    nodes: list[onnx.NodeProto],
    constants: Arrays,
    x_shape: list[Any],
    y_rank: int,
    *,
    opset: int = 18,
    extra_inputs: dict[str, list[Any]] | None = None,
) -> onnx.ModelProto:
    """A checked model with input X and output Y, both float32."""
    inputs = [helper.make_tensor_value_info("X", 1, x_shape)]
    inputs += [helper.make_tensor_value_info(name, 1, shape) for name, shape in (extra_inputs or {}).items()]
    output = helper.make_tensor_value_info("Y", 1, [None] * y_rank)
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "g", inputs, [output], initializers)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.checker.check_model(made)
    return made


def norm(rng: np.random.Generator, channels: int, prefix: str) -> Arrays:
    """BatchNorm parameters with names that start with the prefix."""
    return {
        f"{prefix}.gamma": rng.uniform(0.5, 1.5, channels).astype(np.float32),
        f"{prefix}.beta": rng.standard_normal(channels).astype(np.float32),
        f"{prefix}.mean": rng.standard_normal(channels).astype(np.float32),
        f"{prefix}.var": rng.uniform(0.5, 1.5, channels).astype(np.float32),
    }


def norm_node(x: str, y: str, prefix: str) -> onnx.NodeProto:
    """The BatchNormalization node of those parameters."""
    names = [f"{prefix}.{part}" for part in ("gamma", "beta", "mean", "var")]
    return helper.make_node("BatchNormalization", [x, *names], [y])


def residual_net(rng: np.random.Generator) -> onnx.ModelProto:
    """Two convolutions with BatchNorm around a skip connection, a pooled linear classifier."""
    constants = {
        "a.weight": pruned(rng, 32, 16, 3, 3),
        "b.weight": pruned(rng, 32, 32, 3, 3),
        "fc.weight": pruned(rng, 10, 32, density=0.3),
        "fc.bias": rng.standard_normal(10).astype(np.float32),
        **norm(rng, 32, "a_bn"),
        **norm(rng, 32, "b_bn"),
    }
    nodes = [
        helper.make_node("Conv", ["X", "a.weight"], ["c1"], pads=[1, 1, 1, 1]),
        norm_node("c1", "n1", "a_bn"),
        helper.make_node("Relu", ["n1"], ["r1"]),
        helper.make_node("Conv", ["r1", "b.weight"], ["c2"], pads=[1, 1, 1, 1]),
        norm_node("c2", "n2", "b_bn"),
        helper.make_node("Add", ["n2", "r1"], ["s"]),
        helper.make_node("Relu", ["s"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "fc.weight", "fc.bias"], ["Y"], transB=1),
    ]
    return model(nodes, constants, ["n", 16, 12, 12], 2)
