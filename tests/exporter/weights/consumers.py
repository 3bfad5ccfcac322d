# ruff: noqa: E501
"""Dense models with one weight each, and every kind of node that can read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

node = helper.make_node
Built = tuple[onnx.ModelProto, dict[str, np.ndarray]]


def made(
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    x: list[int],
    x_type: int = TensorProto.FLOAT,
    y_type: int = TensorProto.FLOAT,
    opset: int = 18,
) -> onnx.ModelProto:
    """A model from X to Y."""
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    inputs = [helper.make_tensor_value_info("X", x_type, x)]
    outputs = [helper.make_tensor_value_info("Y", y_type, None)]
    graph = helper.make_graph(nodes, "g", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def _branches(weight: np.ndarray) -> onnx.ModelProto:
    """An If: one branch owns the weight, the other reads one from outside."""

    def branch(name: str, read: str, held: list[onnx.TensorProto]) -> onnx.GraphProto:
        result = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, None)
        return helper.make_graph([node("MatMul", ["X", read], [f"{name}_y"])], name, [], [result], held)

    nodes = [
        node("ReduceSum", ["X"], ["s"], keepdims=0),
        node("Cast", ["s"], ["c"], to=TensorProto.BOOL),
        node(
            "If",
            ["c"],
            ["Y"],
            then_branch=branch("t", "mine", [numpy_helper.from_array(weight * 2, "mine")]),
            else_branch=branch("e", "W", []),
        ),
    ]
    return made(nodes, {"W": weight}, [3, weight.shape[0]])


def _loop(weight: np.ndarray, nodes: list[onnx.NodeProto] | None = None) -> onnx.ModelProto:
    """A Loop whose body owns the weight."""
    body = helper.make_graph(
        [node("Identity", ["go"], ["on"]), *(nodes or [node("MatMul", ["v", "W"], ["v2"])])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v2", TensorProto.FLOAT, None),
        ],
        [numpy_helper.from_array(weight, "W")],
    )
    constants = {"count": np.array(2), "yes": np.array(True)}
    return made([node("Loop", ["count", "yes", "X"], ["Y"], body=body)], constants, [3, weight.shape[0]])


def _nested(weight: np.ndarray) -> onnx.ModelProto:
    """A Loop whose body owns one weight, and an If in it whose branch owns another."""

    def branch(name: str, nodes: list[onnx.NodeProto], held: list[onnx.TensorProto]) -> onnx.GraphProto:
        result = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph(nodes, name, [], [result], held)

    inner = numpy_helper.from_array(weight * 2, "inner")
    then = branch("t", [node("MatMul", ["h", "inner"], ["t"])], [inner])
    other = branch("e", [node("Neg", ["h"], ["e"])], [])
    nodes = [
        node("MatMul", ["v", "W"], ["h"]),
        node("If", ["go"], ["v2"], then_branch=then, else_branch=other),
    ]
    return _loop(weight, nodes)


def _quantized(weight: np.ndarray) -> onnx.ModelProto:
    constants = {
        "W": weight,
        "xs": np.float32(0.02),
        "xz": np.uint8(128),
        "ws": np.float32(0.01),
        "wz": np.int8(0),
    }
    nodes = [
        node("QuantizeLinear", ["X", "xs", "xz"], ["q"]),
        node("DequantizeLinear", ["q", "xs", "xz"], ["d"]),
        node("DequantizeLinear", ["W", "ws", "wz"], ["w"]),
        node("Conv", ["d", "w"], ["Y"], pads=[1] * 4),
    ]
    return made(nodes, constants, [1, weight.shape[1], 6, 6])


def _plain(*nodes: onnx.NodeProto, x: list[int], **extra: Any) -> Callable[[np.ndarray], onnx.ModelProto]:
    return lambda weight: made(list(nodes), {"W": weight}, x, **extra)


_SUM = node("ReduceSum", ["y"], ["Y"], keepdims=0)
#: Kind of reader -> shape and type of its weight, and the model around it.
CONSUMERS: dict[str, tuple[tuple[int, ...], str, Callable[[np.ndarray], onnx.ModelProto]]] = {
    "Conv 1-D": ((16, 16, 3), "float32", _plain(node("Conv", ["X", "W"], ["Y"]), x=[1, 16, 9])),
    "Conv 2-D": ((16, 16, 3, 3), "float32", _plain(node("Conv", ["X", "W"], ["Y"]), x=[1, 16, 6, 6])),
    "Conv 3-D": ((16, 8, 3, 3, 3), "float32", _plain(node("Conv", ["X", "W"], ["Y"]), x=[1, 8, 4, 4, 4])),
    "Conv SAME with a stride": (
        (16, 16, 3, 3),
        "float32",
        _plain(node("Conv", ["X", "W"], ["Y"], auto_pad="SAME_UPPER", strides=[2, 2]), x=[1, 16, 7, 7]),
    ),
    "ConvTranspose": (
        (16, 16, 3, 3),
        "float32",
        _plain(node("ConvTranspose", ["X", "W"], ["Y"]), x=[1, 16, 5, 5]),
    ),
    "LSTM": (
        (1, 64, 32),
        "float32",
        lambda weight: made(
            [node("LSTM", ["X", "W", "R"], ["Y"], hidden_size=16)],
            {"W": weight, "R": np.ascontiguousarray(weight[:, :, :16])},
            [4, 1, 32],
        ),
    ),
    "GRU": (
        (1, 48, 32),
        "float32",
        lambda weight: made(
            [node("GRU", ["X", "W", "R"], ["Y"], hidden_size=16)],
            {"W": weight, "R": np.ascontiguousarray(weight[:, :, :16])},
            [4, 1, 32],
        ),
    ),
    "Gather": (
        (64, 32),
        "float32",
        _plain(node("Gather", ["W", "X"], ["Y"]), x=[5], x_type=TensorProto.INT64),
    ),
    "MatMul right": ((32, 32), "float32", _plain(node("MatMul", ["X", "W"], ["Y"]), x=[3, 32])),
    "MatMul left": ((32, 32), "float32", _plain(node("MatMul", ["W", "X"], ["Y"]), x=[32, 3])),
    "MatMul with leading dimensions": (
        (4, 16, 32),
        "float32",
        _plain(node("MatMul", ["X", "W"], ["Y"]), x=[4, 3, 16]),
    ),
    "Gemm transA": ((32, 32), "float32", _plain(node("Gemm", ["X", "W"], ["Y"], transA=1), x=[32, 3])),
    "Gemm alpha": (
        (32, 32),
        "float32",
        _plain(node("Gemm", ["X", "W"], ["Y"], transB=1, alpha=0.5), x=[3, 32]),
    ),
    "Einsum": (
        (32, 32),
        "float32",
        _plain(node("Einsum", ["X", "W"], ["Y"], equation="ab,bc->ac"), x=[3, 32]),
    ),
    "Transpose in front": (
        (32, 32),
        "float32",
        _plain(node("Transpose", ["W"], ["t"]), node("Einsum", ["X", "t"], ["Y"], equation="ab,bc->ac"), x=[3, 32]),
    ),
    "two readers": (
        (32, 32),
        "float32",
        _plain(node("MatMul", ["X", "W"], ["h"]), node("MatMul", ["W", "h"], ["Y"]), x=[32, 32]),
    ),
    "If": ((32, 32), "float32", _branches),
    "Loop": ((32, 32), "float32", _loop),
    "Loop around an If": ((32, 32), "float32", _nested),
    "float16": (
        (32, 64),
        "float16",
        _plain(
            node("MatMul", ["X", "W"], ["Y"]), x=[3, 32], x_type=TensorProto.FLOAT16, y_type=TensorProto.FLOAT16
        ),
    ),
    "bfloat16 behind Cast": (
        (32, 64),
        "bfloat16",
        _plain(node("Cast", ["W"], ["w"], to=1), node("MatMul", ["X", "w"], ["Y"]), x=[3, 32]),
    ),
    "float64": (
        (32, 32),
        "float64",
        _plain(
            node("MatMul", ["X", "W"], ["Y"]), x=[3, 32], x_type=TensorProto.DOUBLE, y_type=TensorProto.DOUBLE
        ),
    ),
    "int8 behind DequantizeLinear": ((32, 32, 3, 3), "int8", _quantized),
    "int64 table": (
        (64, 8),
        "int64",
        _plain(
            node("Gather", ["W", "X"], ["Y"]), x=[5], x_type=TensorProto.INT64, y_type=TensorProto.INT64
        ),
    ),
}  # fmt: skip


def weight_of(shape: tuple[int, ...], dtype: str, kind: str) -> np.ndarray:
    """A weight that a kind of format holds: "free" values, "groups" of four, "signs", or signs and "zeros"."""
    rng = np.random.default_rng(len(shape))
    array = rng.standard_normal(shape)
    if kind in ("signs", "zeros"):
        array = np.where(array < 0, -0.5, 0.5)
    if kind == "groups":
        free = np.zeros(shape)
        free[:, ::4] = array[:, ::4]
        array = free
    elif kind != "signs":
        array[rng.random(shape) > 0.2] = 0
    return (array * (1 if dtype.startswith("float") else 40)).astype(dtype)


def feeds(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Seeded values of X; indices are small."""
    value = model.graph.input[0].type.tensor_type
    shape = [dim.dim_value for dim in value.shape.dim]
    rng = np.random.default_rng(5)
    if value.elem_type == TensorProto.INT64:
        return {"X": rng.integers(0, 64, shape)}
    return {"X": rng.standard_normal(shape).astype(helper.tensor_dtype_to_np_dtype(value.elem_type))}
