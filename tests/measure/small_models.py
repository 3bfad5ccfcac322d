"""Small ONNX models to measure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def chain(path: Path, layers: int = 3, width: int = 64, density: float = 1.0, batch: int | str = "N") -> Path:
    """Linear layers one behind the other, with that share of weights not zero."""
    rng = np.random.default_rng(layers)
    nodes, weights = [], []
    for i in range(layers):
        weight = rng.standard_normal((width, width), dtype=np.float32) / np.float32(np.sqrt(width))
        weight[rng.random(weight.shape) >= density] = 0
        weights.append(numpy_helper.from_array(weight, f"w{i}"))
        nodes.append(helper.make_node("MatMul", [f"h{i}", f"w{i}"], [f"h{i + 1}"], name=f"layer{i}"))
    return save(path, nodes, weights, [batch, width], f"h{layers}", [batch, width])


def save(
    path: Path, nodes: list[Any], weights: list[Any], shape: list[Any], output: str, output_shape: list[Any]
) -> Path:
    """A model with the input h0 and one output."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("h0", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, output_shape)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return path
