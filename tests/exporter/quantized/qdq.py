"""Models in QDQ form, written out by hand: layers of pruned int8 weights between quantized activations."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray[Any, Any]


class Qdq:
    """A graph that grows layer by layer; every method gives the name of a float value.

    Parameters
    ----------
    signed
        Whether activations are int8.
    """

    def __init__(self, rng: np.random.Generator, x_shape: list[Any], *, signed: bool = False) -> None:
        self.rng, self.x_shape = rng, x_shape
        self.dtype = np.dtype(np.int8 if signed else np.uint8)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}
        self.count = 0

    def add(self, op_type: str, inputs: list[str], **attributes: Any) -> str:
        self.count += 1
        name = f"{op_type.lower()}{self.count}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return name

    def hold(self, array: Any, kind: str = "c") -> str:
        self.count += 1
        self.constants[f"{kind}{self.count}"] = np.asarray(array)
        return f"{kind}{self.count}"

    def pair(self, value: str, scale: float, zero: int) -> str:
        """Quantized and back."""
        names = [self.hold(np.float32(scale)), self.hold(self.dtype.type(zero))]
        return self.add("DequantizeLinear", [self.add("QuantizeLinear", [value, *names]), *names])

    def input(self, scale: float = 0.03, zero: int = 120) -> str:
        return self.pair("X", scale, zero - (128 if self.dtype == np.int8 else 0))

    def codes(self, *shape: int, density: float = 0.1) -> Array:
        codes = self.rng.integers(-127, 128, shape)
        codes[self.rng.random(shape) > density] = 0
        return codes.astype(np.int8)

    def weight(self, codes: Array, *, axis: int = 0, name: str = "weight", zero: Any = None) -> str:
        """The float weight of codes, one scale for each output."""
        scale = self.rng.uniform(0.002, 0.01, codes.shape[axis]).astype(np.float32)
        self.constants[f"{name}{self.count}"] = codes
        zeros = np.full(codes.shape[axis], 0 if zero is None else zero, codes.dtype)
        return self.add(
            "DequantizeLinear", [f"{name}{self.count}", self.hold(scale), self.hold(zeros)], axis=axis
        )

    def conv(self, x: str, outputs: int, channels: int, kernel: int = 3, **attributes: Any) -> str:
        """A convolution that keeps the size of its image; its float result."""
        weight = self.weight(self.codes(outputs, channels, kernel, kernel))
        bias = self.hold(self.rng.standard_normal(outputs).astype(np.float32))
        return self.add("Conv", [x, weight, bias], pads=[kernel // 2] * 4, **attributes)

    def model(self, output: str, opset: int = 18) -> onnx.ModelProto:
        self.nodes.append(helper.make_node("Identity", [output], ["Y"]))
        graph = helper.make_graph(
            self.nodes,
            "qdq",
            [helper.make_tensor_value_info("X", TensorProto.FLOAT, self.x_shape)],
            [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def residual(rng: np.random.Generator) -> onnx.ModelProto:
    """A chain of three convolutions, the last of which is added to the first; pooled and classified."""
    net = Qdq(rng, ["n", 16, 10, 10])
    first = net.pair(net.conv(net.input(), 32, 16), 0.03, 0)
    second = net.pair(net.conv(first, 32, 32), 0.03, 0)
    third = net.pair(net.conv(second, 32, 32), 0.05, 128)
    total = net.pair(net.add("Add", [third, first]), 0.06, 0)
    pooled = net.pair(net.add("Flatten", [net.pair(net.add("GlobalAveragePool", [total]), 0.02, 0)]), 0.02, 0)
    weight = net.weight(net.codes(200, 32))
    bias = net.hold(rng.standard_normal(200).astype(np.float32))
    return net.model(net.pair(net.add("Gemm", [pooled, weight, bias], transB=1), 0.02, 128))
