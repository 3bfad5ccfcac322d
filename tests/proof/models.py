"""Small models whose outputs a careless comparison would take for equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Arrays = dict[str, np.ndarray]
X = ("x", ["n", 64])
Y = ("y", ["n", 64])


def weight(*shape: int, density: float = 0.2, seed: int = 0) -> np.ndarray:
    """Seeded float32 values, that share of them not zero."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) * (rng.random(shape) < density)).astype(np.float32)


def value(name: str, shape: Any, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    """An input or output."""
    return helper.make_tensor_value_info(name, kind, shape)


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    constants: Arrays,
    inputs: list[Any],
    outputs: list[Any],
    *,
    opset: int = 18,
    ir_version: int = 8,
) -> Path:
    """Write a model; inputs and outputs are values, or (name, shape) of floats."""
    made = [
        [one if not isinstance(one, tuple) else value(*one) for one in side] for side in (inputs, outputs)
    ]
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "g", made[0], made[1], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    onnx.save(model, str(path))
    return path


def linear(path: Path, w: np.ndarray, *, x: str = "x", y: str = "y") -> Path:
    """y = x w."""
    node = helper.make_node("MatMul", [x, "w"], [y])
    return save(path, [node], {"w": w}, [(x, ["n", w.shape[0]])], [(y, ["n", w.shape[1]])])


def chain(
    path: Path, steps: list[tuple[str, list[str]]], constants: Arrays, inputs: list[Any], **options: Any
) -> Path:
    """x through operators with further inputs, one behind the other; the last gives y."""
    nodes, last = [], "x"
    for place, (op, others) in enumerate(steps):
        result = "y" if place == len(steps) - 1 else f"t{place}"
        nodes.append(helper.make_node(op, [last, *others], [result], **options.get(op, {})))
        last = result
    return save(path, nodes, constants, inputs, [("y", [None, None])])
