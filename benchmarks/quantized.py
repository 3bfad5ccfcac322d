"""Single layers in INT8: the packed operators against onnxruntime's dense INT8 (QDQ) of the same weights.

Bytes in and bytes out on both sides, so that nothing but the layer is timed. Beside M = 1 stands the same
weight in 4 bits (MatMulNBits, which takes float32).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from sparse_export.formats import get

Array = np.ndarray[Any, Any]


def quantized_weight(weight: Array) -> tuple[Array, Array]:
    """int8 weights and their scale for each output; zeros stay zeros."""
    scale = np.abs(weight).reshape(len(weight), -1).max(axis=1) / 127
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    return np.round(weight / scale.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.int8), scale


def _quanta(weight: Array, scale: Array) -> dict[str, Array]:
    """Scales and zero points of activations that are normally distributed."""
    spread = float(np.sqrt(np.mean((weight * scale.reshape(-1, *[1] * (weight.ndim - 1))) ** 2)))
    size = weight[0].size
    return {
        "x_scale": np.array(1 / 32, np.float32), "x_zero": np.array(128, np.uint8),
        "w_scale": scale, "bias": np.zeros(len(weight), np.int32),
        "y_scale": np.array(max(spread * size**0.5 / 16, 1e-6), np.float32),
        "y_zero": np.array(128, np.uint8),
    }  # fmt: skip


def _model(nodes: list[NodeProto], inits: dict[str, Array], rank: int) -> ModelProto:
    infos = [helper.make_tensor_value_info(name, TensorProto.UINT8, [None] * rank) for name in "xy"]
    stored = [numpy_helper.from_array(np.asarray(array), name) for name, array in inits.items()]
    graph = helper.make_graph(nodes, "layer", infos[:1], infos[1:], stored)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("sparse_export", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def dense(weight: Array, stride: int, pad: int) -> ModelProto:
    """The layer as a quantizer writes it: onnxruntime runs one QLinearConv or QGemm."""
    values, scale = quantized_weight(weight)
    inits = _quanta(values, scale)
    zeros: dict[str, Array] = {
        "w_zero": np.zeros(len(weight), np.int8),
        "b_zero": np.zeros(len(weight), np.int32),
    }
    inits |= {"w": values, "b_scale": inits["x_scale"] * scale, **zeros}
    real = [
        helper.make_node("DequantizeLinear", ["x", "x_scale", "x_zero"], ["x_real"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_real"], axis=0),
        helper.make_node("DequantizeLinear", ["bias", "b_scale", "b_zero"], ["b_real"], axis=0),
    ]
    names = ["x_real", "w_real", "b_real"]
    layer = (
        helper.make_node("Gemm", names, ["y_real"], transB=1)
        if weight.ndim == 2
        else helper.make_node("Conv", names, ["y_real"], strides=[stride] * 2, pads=[pad] * 4)
    )
    last = helper.make_node("QuantizeLinear", ["y_real", "y_scale", "y_zero"], ["y"])
    return _model([*real, layer, last], inits, weight.ndim)


def packed(weight: Array, stride: int, pad: int) -> ModelProto:
    """The layer as one packed operator, which only the library can run."""
    values, scale = quantized_weight(weight)
    inits = _quanta(values, scale)
    components = get("csr").pack(values).components
    parts = {name: np.asarray(components[name]) for name in ("indptr", "gaps", "values")}
    attributes: dict[str, Any] = {"shape": list(weight.shape)}
    if weight.ndim == 4:
        attributes |= {"strides": [stride] * 2, "pads": [pad] * 4, "dilations": [1, 1], "group": 1}
    names = ["x", "x_scale", "x_zero", *parts, "w_scale", "bias", "y_scale", "y_zero"]
    name = "SparseQMatMul" if weight.ndim == 2 else "SparseQConv"
    node = helper.make_node(name, names, ["y"], domain="sparse_export", **attributes)
    return _model([node], inits | parts, weight.ndim)


def write(folder: Path, stem: str, weight: Array, stride: int, pad: int) -> dict[str, Path]:
    """Both models, made once."""
    makers = {"dense int8": dense, "sparse int8": packed}
    paths = {name: folder / f"{stem}.{name.replace(' ', '-')}.onnx" for name in makers}
    for name, path in paths.items():
        if not path.exists():
            path.write_bytes(makers[name](weight, stride, pad).SerializeToString())
    return paths
