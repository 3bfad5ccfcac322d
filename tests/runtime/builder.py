"""One-node models of the sparse operators, and what they must compute, in float64 numpy."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from sparse_export.formats.csr import Csr

Array = NDArray[Any]
VALUE_TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
    "int8": TensorProto.INT8,
}


def sparse_weight(
    rng: np.random.Generator, shape: tuple[int, ...], density: float, dtype: str = "float32"
) -> Array:
    """A weight with about this density whose values are exact in `dtype`; float32 [shape]."""
    if dtype == "int8":
        weight = rng.integers(-127, 128, shape).astype(np.float32)
    else:
        kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
        weight = rng.standard_normal(shape).astype(kind).astype(np.float32)
    weight[rng.random(shape) >= density] = 0
    return weight


def pack(weight: Array, dtype: str = "float32") -> dict[str, Array]:
    """The csr components of a float32 weight, values stored as `dtype` (bfloat16 as its uint16 bits)."""
    components = {name: np.asarray(part) for name, part in Csr().pack(weight).components.items()}
    if dtype == "bfloat16":
        components["values"] = components["values"].astype(ml_dtypes.bfloat16).view(np.uint16)
    else:
        components["values"] = components["values"].astype(dtype)
    return components


def tensor(name: str, array: Array, dtype: str = "") -> onnx.TensorProto:
    """An initializer; `dtype` "bfloat16" reads uint16 bits as bfloat16."""
    if dtype == "bfloat16":
        return helper.make_tensor(name, TensorProto.BFLOAT16, array.shape, array.tobytes(), raw=True)
    return numpy_helper.from_array(array, name)


@dataclass
class Case:
    """One operator with its weight and attributes."""

    weight: Array
    suffix: str = ""
    dtype: str = "float32"
    strides: tuple[int, ...] = (1, 1)
    pads: tuple[int, ...] = (0, 0, 0, 0)
    dilations: tuple[int, ...] = (1, 1)
    group: int = 1
    clip: tuple[float, float] = (-0.5, 1.5)
    scale: Array = field(default_factory=lambda: np.empty(0))
    bias: Array = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        rows = self.weight.shape[0]
        if self.scale.size == 0:
            self.scale = np.linspace(0.5, 1.5, rows, dtype=np.float32)
            self.bias = np.linspace(-1, 1, rows, dtype=np.float32)

    @property
    def is_matmul(self) -> bool:
        return self.weight.ndim == 2

    @property
    def has_residual(self) -> bool:
        return self.suffix.startswith("Add")

    def attributes(self) -> dict[str, Any]:
        """Of the node."""
        out: dict[str, Any] = {"shape": list(self.weight.shape)}
        if not self.is_matmul:
            out |= {
                "strides": self.strides,
                "pads": self.pads,
                "dilations": self.dilations,
                "group": self.group,
            }
        if self.suffix.endswith("Clip"):
            out |= {"min": self.clip[0], "max": self.clip[1]}
        return out

    def model(
        self, components: dict[str, Array] | None = None, attributes: dict[str, Any] | None = None
    ) -> onnx.ModelProto:
        """A model of this one node; `components` and `attributes` replace the right ones."""
        parts = pack(self.weight, self.dtype) if components is None else components
        inits = [tensor(name, part, self.dtype if name == "values" else "") for name, part in parts.items()]
        inits += [tensor("scale", self.scale), tensor("bias", self.bias)]
        inputs = ["x", *parts, "scale", "bias"] + (["z"] if self.has_residual else [])
        name = f"Sparse{'MatMul' if self.is_matmul else 'Conv'}{self.suffix}"
        attrs = self.attributes() if attributes is None else attributes
        node = helper.make_node(name, inputs, ["y"], domain="sparse_export", **attrs)
        return model_of(node, inits, ["x", "z"] if self.has_residual else ["x"])

    def reference(self, x: Array, z: Array | None = None) -> tuple[Array, Array]:
        """Output in float64, and the sum of absolute terms that bounds rounding."""
        scale = self.scale.astype(np.float64)
        bias = self.bias.astype(np.float64)
        if self.is_matmul:
            y, size = (
                x.astype(np.float64) @ self.weight.T,
                np.abs(x).astype(np.float64) @ np.abs(self.weight).T,
            )
        else:
            y, size = self._conv(x, self.weight), self._conv(np.abs(x), np.abs(self.weight))
            trail = (slice(None),) + (None,) * (x.ndim - 2)
            scale, bias = scale[trail], bias[trail]
        y, size = y * scale + bias, size * np.abs(scale) + np.abs(bias)
        if z is not None:
            y, size = y + z, size + np.abs(z)
        if self.suffix.endswith("Relu"):
            y = np.maximum(y, 0)
        elif self.suffix.endswith("Clip"):
            y = np.clip(y, *np.float32(self.clip).astype(np.float64))
        return y, size

    def _conv(self, x: Array, weight: Array) -> Array:
        rank = x.ndim - 2
        pads = [(0, 0), (0, 0), *zip(self.pads[:rank], self.pads[rank:], strict=True)]
        x = np.pad(x.astype(np.float64), pads)
        spans = [d * (k - 1) + 1 for d, k in zip(self.dilations[:rank], weight.shape[2:], strict=True)]
        axes = tuple(range(2, x.ndim))
        windows = np.lib.stride_tricks.sliding_window_view(x, spans, axis=axes)
        for axis in range(rank):
            take = [slice(None)] * windows.ndim
            take[2 + axis] = slice(None, None, self.strides[axis])
            take[2 + rank + axis] = slice(None, None, self.dilations[axis])
            windows = windows[tuple(take)]
        n, c = windows.shape[:2]
        spatial = windows.shape[2 : 2 + rank]
        taps = math.prod(weight.shape[2:])
        grouped = windows.reshape(n, self.group, c // self.group, math.prod(spatial), taps)
        columns = np.moveaxis(grouped, 3, 2).reshape(
            n, self.group, math.prod(spatial), taps * c // self.group
        )
        matrix = weight.reshape(self.group, weight.shape[0] // self.group, -1).astype(np.float64)
        y = np.einsum("gkc,ngpc->ngkp", matrix, columns, optimize=True)
        return y.reshape(n, weight.shape[0], *spatial)


def model_of(node: onnx.NodeProto, inits: list[onnx.TensorProto], inputs: list[str]) -> onnx.ModelProto:
    """A model around one node with float inputs of unknown shape and the output "y"."""
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inputs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        inits,
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("sparse_export", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def check_close(y: Array, reference: Array, size: Array, terms: int) -> float:
    """Largest error in units of the bound eps * (terms + 4) * sum of absolute terms; raises above 1."""
    assert y.shape == reference.shape
    bound = np.finfo(np.float32).eps * (terms + 4) * size + np.finfo(np.float32).tiny
    worst = float(np.max(np.abs(y - reference) / bound, initial=0.0))
    assert worst <= 1, f"error {worst:.3g} x bound"
    return worst
